"""Where in a text tower a denial is known: logistic probes of what stands at the pooled position after each block, and
how far a caption is from its denial there.

Two questions. `negated`: does a text affirm or deny; each stands beside its twin of the other kind, so chance is a
half. A word such as `no` tells it. `denied thing`: which of two things that a text names does it deny; each stands
beside the text of the same words in which it is the other, and as many deny the first as the last, so that neither the
words nor the order of the names tells it; chance is a half, too.

The probe of the second sees h * (one - other): the state of the text times the difference of those of the two names, by
channel, one and other in an order that a hash decides. So it can learn along which channels a text is near to what it
affirms, and far from what it denies, of names that it has never seen.

Names and pictures are cut into halves by hashes. A probe learns from texts about names of one half and pictures of one
half, and is tried on texts all of whose names and pictures are of the others; then the other way round. Its strength is
chosen on a fifth of the pictures that it learns from.

Shapes: N texts, W width of the tower, Q questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sightword.data.denials import Denials, OneDenied
from sightword.data.pairs import fraction_of
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.evaluation.layer_names import BAG, DENIED_THING, NEGATED, block_name
from sightword.labels.probe import LinearProbe
from sightword.towers.tower import TextTower

States = NDArray[np.float32]
STRENGTHS = (10_000.0, 1000.0, 100.0, 10.0)
"""Of the probes, on features of unit variance: one of them is chosen."""
_CHOOSING = 0.2  # of the pictures that a probe learns from
_AT_ONCE = 128  # texts
_FEW = 20  # questions, in either half, below which nothing is said


@dataclass(frozen=True)
class Question:
    """What a probe is asked. text: the place of it among the texts; one, other: of the names that it is about, -1 where
    there are none; picture: its number; answer: whether `one` is the denied one, or the text denies; half: of its names
    and its picture, None where they are not of one."""

    text: int
    one: int
    other: int
    picture: int
    answer: bool
    half: int | None
    chooses: bool


@dataclass(frozen=True)
class Asked:
    """texts: all of them, the names as well. questions: by what is asked. twins: the texts of a caption and its denial,
    by their places, and the numbers of the pictures."""

    texts: tuple[str, ...]
    questions: Mapping[str, Sequence[Question]]
    twins: NDArray[np.int64]
    twin_pictures: NDArray[np.int64]


def text_tower(embedder: object) -> tuple[Embedder, TextTower]:
    """Raises RequestError for a model whose blocks cannot be looked at."""
    if not isinstance(embedder, Embedder):
        raise RequestError(
            "the task layers looks into the text tower, which an ONNX export does not open: name weights"
        )
    if embedder.precision != "fp32":
        raise RequestError(f"the task layers differentiates the model, in fp32 and not {embedder.precision}")
    return embedder, embedder.model.text


def asked_of(data: Denials, seed: int) -> Asked:
    """What a data set asks."""
    places: dict[str, int] = {}

    def place(text: str) -> int:
        return places.setdefault(text, len(places))

    named = {name for one in data.denials for name in (one.present, one.missing) if name}
    named |= {name for one in data.one_denied for name in (one.affirmed, one.denied)}
    half_of_name = _halves(named, f"half {seed} name")
    half_of_picture = _halves({*data.keys}, f"half {seed} picture")

    def halves(*names: str, picture: int) -> int | None:
        """The half that all are of; a name that is not known is of any."""
        found = {half_of_name[name] for name in names if name} | {half_of_picture[data.keys[picture]]}
        return found.pop() if len(found) == 1 else None

    def chooses(picture: int) -> bool:
        return fraction_of(f"chooses {seed} {data.keys[picture]}") < _CHOOSING

    negated: list[Question] = []
    which: list[Question] = []
    twins: list[tuple[int, int]] = []
    pictures: list[int] = []
    for one in data.denials:
        for affirms, denies, name in (
            (one.affirmed, one.denied, one.present),
            (one.foil, one.absent, one.missing),
        ):
            if affirms and denies:
                half = halves(name, picture=one.image)
                pair = place(affirms), place(denies)
                negated += [
                    Question(text, -1, -1, one.image, answer, half, chooses(one.image))
                    for text, answer in zip(pair, (False, True), strict=True)
                ]
                twins.append(pair)
                pictures.append(one.image)
    for text in _in_either_order(data, seed):
        turned = fraction_of(f"turned {seed} {text.text} {data.keys[text.image]}") < 0.5
        first, second = (text.denied, text.affirmed) if turned else (text.affirmed, text.denied)
        half = halves(first, second, picture=text.image)
        which.append(
            Question(place(text.text), place(first), place(second), text.image, turned, half, chooses(text.image))
        )
    asked = {NEGATED: negated, DENIED_THING: which}
    return Asked(tuple(places), asked, np.array(twins, np.int64), np.array(pictures, np.int64))


def _halves(names: set[str], what: str) -> dict[str, int]:
    """Of equal size, in the order of a hash."""
    order = sorted(names, key=lambda name: (fraction_of(f"{what} {name}"), name))
    return {name: int(place < len(order) // 2) for place, name in enumerate(order)}


def _in_either_order(data: Denials, seed: int) -> list[OneDenied]:
    """As many of those that name the denied thing first as of those that name it last, by a hash; twins stay together.
    Without those in which a name does not stand as it is."""
    twins: dict[tuple[bool, str], list[OneDenied]] = {}
    for one in data.one_denied:
        denied, affirmed = (one.text.lower().find(name.lower()) for name in (one.denied, one.affirmed))
        if denied >= 0 and affirmed >= 0 and denied != affirmed:
            key = f"order {seed} {data.keys[one.image]} {sorted((one.denied, one.affirmed))}"
            twins.setdefault((denied < affirmed, key), []).append(one)
    orders = [
        sorted((key for key in twins if key[0] == first), key=lambda key: fraction_of(key[1])) for first in (0, 1)
    ]
    some = min(map(len, orders))
    return [one for keys in orders for key in keys[:some] for one in twins[key]]


def states(embedder: Embedder, texts: Sequence[str]) -> dict[str, States]:
    """[N, W] by level: the tokens', and what stands at the pooled position after each block."""
    _, tower = text_tower(embedder)
    found: dict[str, list[States]] = {BAG: [], **{block_name(number): [] for number in range(len(tower.stages()) - 1)}}
    for start in range(0, len(texts), _AT_ONCE):
        tokens = embedder.tokenizer(texts[start : start + _AT_ONCE], truncate=True).to(embedder.device)
        for number, state in enumerate(tower.hidden(tokens)):
            found[block_name(number)].append(state.cpu().numpy())
        inside = torch.arange(tokens.ids.shape[1], device=tokens.ids.device) < tokens.lengths[:, None]
        with torch.no_grad():
            vectors = F.embedding(tokens.ids, tower.part("tokens")[0]) * inside[:, :, None]
        found[BAG].append((vectors.sum(dim=1) / tokens.lengths[:, None]).cpu().numpy())
    return {level: np.concatenate(parts) for level, parts in found.items()}


def distances(state_NW: States, twins: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 - cosine of each pair of texts."""
    one, other = (state_NW[twins[:, side]].astype(np.float64) for side in (0, 1))
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: NDArray[np.float64] = 1 - (one * other).sum(axis=1) / np.maximum(lengths, 1e-30)
    return found


def probe(state_NW: States, questions: Sequence[Question]) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    """Which questions a probe was tried on, their places, and which of them it had right. None where there are too few
    to learn from or to try, on either side."""
    parts = [[place for place, one in enumerate(questions) if one.half == half] for half in (0, 1)]
    tried: list[int] = []
    right: list[NDArray[np.bool_]] = []
    for learn, test in (parts, parts[::-1]):
        fit = [place for place in learn if not questions[place].chooses]
        choose = [place for place in learn if questions[place].chooses]
        if min(len(fit), len(test)) < _FEW or any(
            len({questions[p].answer for p in some}) < 2 for some in (fit, choose)
        ):
            return None
        features = _Features(state_NW, [questions[place] for place in fit])
        told = [(features([questions[p] for p in some]), _answers(questions, some)) for some in (fit, choose, test)]
        made = LinearProbe(STRENGTHS).fit(*told[0], *told[1])
        right.append(made.predict(told[2][0]) == told[2][1])
        tried += test
    return np.array(tried, np.int64), np.concatenate(right).astype(np.float64)


class _Features:
    """Of a question, as a probe sees it, with the mean and the spread of what it learns from taken out."""

    def __init__(self, state_NW: States, learn: Sequence[Question]) -> None:
        texts = state_NW[[one.text for one in learn]]
        names = [place for one in learn for place in (one.one, one.other) if place >= 0]
        self.texts = _standard(state_NW, texts)
        self.names = _standard(state_NW, state_NW[names]) if names else None

    def __call__(self, questions: Sequence[Question]) -> States:
        text_QW = self.texts[[one.text for one in questions]]
        if self.names is None:
            return text_QW
        one_QW, other_QW = (
            self.names[[getattr(question, side) for question in questions]] for side in ("one", "other")
        )
        found: States = text_QW * (one_QW - other_QW)
        return found


def _standard(state_NW: States, like: States) -> States:
    spread = like.std(axis=0)
    found: States = (state_NW - like.mean(axis=0)) / np.where(spread > 1e-6 * np.abs(like).max(), spread, np.inf)
    return found


def _answers(questions: Sequence[Question], some: Sequence[int]) -> NDArray[np.bool_]:
    return np.array([questions[place].answer for place in some])
