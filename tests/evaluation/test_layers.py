"""What the blocks of a text tower know of denials, as a user measures it: states and gradients against transformers and
formulas of their own, probes that cannot cheat, tables of one's own, refusals."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.cli import run as command
from sightword.data.denials import Denial, Denials, OneDenied
from sightword.data.negate import negate
from sightword.data.pairs import Tokens
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.evaluation.gradients import gradient_norms
from sightword.evaluation.layer_names import BAG, DENIED_THING, DISTANCE, GRADIENT, LOSSES, NEGATED
from sightword.evaluation.layers import Asked, States, asked_of, distances, probe, states, text_tower
from sightword.evaluation.records import Results
from sightword.evaluation.runner import Subject, evaluate
from sightword.evaluation.suites import find_data, open_split
from sightword.model import Model
from sightword.model import evaluate as measure
from sightword.towers.text import TextTransformer
from tests.conftest import make_picture
from tests.data.negate.world import world, write_jsonl
from tests.evaluation.test_report import Page
from tests.towers.test_clip_parity import END, TEXT, reference, renamed

NAMES = [
    f"{colour} {shape}" for colour in ("red", "green", "blue") for shape in ("cat", "dog", "cup", "hat", "bus", "owl")
]


def denials(pictures: int) -> Denials:
    """Of each picture a caption with its denials, and two texts of the same words of which each denies one thing."""
    rng = np.random.default_rng(0)
    found: list[Denial] = []
    one_denied: list[OneDenied] = []
    for place in range(pictures):
        there, absent, other = (NAMES[row] for row in rng.permutation(len(NAMES))[:3])
        found.append(
            Denial(place, f"a {there} here", f"no {there} here", f"a {absent} here", f"no {absent} here", there, absent)
        )
        form = "a {0} but no {1}" if place % 2 else "no {1} but a {0}"
        one_denied += [OneDenied(place, form.format(*pair), *pair) for pair in ((there, other), (other, there))]
    images = [make_picture(32, 32, seed=place) for place in range(pictures)]
    return Denials("made", "test", images, [f"p{place}" for place in range(pictures)], found, one_denied)


@pytest.fixture(scope="module")
def data() -> Denials:
    return denials(300)


@pytest.fixture(scope="module")
def asked(data: Denials) -> Asked:
    return asked_of(data, 0)


@torch.no_grad()
def test_states_are_transformers_hidden_states() -> None:
    theirs = reference("quick_gelu").text_model
    ours = TextTransformer(TEXT, 20).eval()
    weights = renamed(reference("quick_gelu").state_dict())
    ours.load_state_dict({name[5:]: value for name, value in weights.items() if name.startswith("text.")})
    ids = torch.tensor([[98, 5, 6, 7, END, 0, 0], [98, 8, 9, END, 0, 0, 0]])
    lengths = torch.tensor([5, 4])
    hidden = theirs(ids, output_hidden_states=True).hidden_states[1:]
    found = ours.hidden(Tokens(ids, lengths))
    assert len(found) == len(hidden) == TEXT.layers
    for one, other in zip(found, hidden, strict=True):
        assert torch.allclose(one, other[torch.arange(2), lengths - 1], atol=2e-5)
    whole = ours.projection(ours.norm_out(found[-1]))
    assert torch.allclose(whole, ours(Tokens(ids, lengths)), atol=1e-5)
    assert not any(block._forward_hooks for block in ours.blocks)


@pytest.mark.parametrize(
    "change", [{"pool": "last", "causal": False}, {"pool": "first"}, {"pool": "class", "pad_id": 0}]
)
@torch.no_grad()
def test_states_are_of_the_pooled_position_of_any_tower(change: Mapping[str, Any]) -> None:
    torch.manual_seed(0)
    tower = TextTransformer(TEXT.model_copy(update=change), 20).eval()
    tokens = Tokens(torch.randint(1, 90, (3, TEXT.context)), torch.tensor([TEXT.context] * 3))
    found = tower.hidden(tokens)
    assert [tuple(one.shape) for one in found] == [(3, TEXT.width)] * TEXT.layers
    assert torch.allclose(tower.projection(tower.norm_out(found[-1])), tower(tokens), atol=1e-6)


def test_gradients_are_those_of_the_formulas(model: Model) -> None:
    """In float64, from the losses as the authors' code has them, and torch's own backward pass."""
    data = denials(24)
    images_ND = model.embed_images(data.images)
    norms, batch = gradient_norms(model, data, images_ND, seed=3)
    assert (norms.shape, batch) == ((3, 2, 1), 24)
    exact = Embedder(type(model.model)(model.model.config), model.contract, model.tokenizer, device="cpu")
    exact.model.load_state_dict(model.model.state_dict())
    exact.model.double()

    def vectors(kind: str) -> Tensor:
        return exact.model.encode_text(exact.tokenizer([getattr(one, kind) for one in data.denials], truncate=True))

    captions = [one.affirmed for one in data.denials]
    i, t, n, a = torch.tensor(images_ND).double(), *map(vectors, ("affirmed", "denied", "absent"))
    s = float(exact.model.scale.detach())

    def nce(one: Tensor, other: Tensor, texts: list[str]) -> Tensor:
        """Both ways; equal texts are positives of each other."""
        same = torch.tensor([[float(x == y) for y in texts] for x in texts]).double()
        same = same / same.sum(dim=1, keepdim=True)
        return (F.cross_entropy(s * one @ other.T, same) + F.cross_entropy(s * other @ one.T, same)) / 2

    assert len({*captions}) < len(captions)  # some are equal: the interesting case
    same = torch.tensor([[float(x == y) for y in captions] for x in captions]).double()
    same = same / same.sum(dim=1, keepdim=True)
    wide = torch.cat([same, torch.zeros_like(same)], dim=1)
    first = F.cross_entropy(s * i @ torch.cat([t, n]).T, wide) + F.cross_entropy(s * t @ i.T, same)
    presence = (first + F.softplus(s * ((i * n).sum(1) - (i * t).sum(1))).mean()) / 3
    absent = [one.absent for one in data.denials]
    either = [(x, y) for x, y in zip(captions, absent, strict=True)]
    same_either = torch.tensor([[float(x[0] == y[0] or x[1] == y[1]) for y in either] for x in either]).double()
    same_either = same_either / same_either.sum(dim=1, keepdim=True)
    about = (F.cross_entropy(s * i @ a.T, same_either) + F.cross_entropy(s * a @ i.T, same_either)) / 2
    absence = about + nce(i, t, captions) + ((t * a).sum(1) + 0.9).clamp(min=0).mean()
    blocks = exact.model.text.stages()[1:]
    for row, loss in zip(norms, (presence, absence, presence + absence), strict=True):
        for found, block in zip(row, blocks, strict=True):
            weights = [*block.parameters()]
            gradients = torch.autograd.grad(loss, weights, retain_graph=True)
            length, size = (sum(float(x.detach().square().sum()) for x in some) ** 0.5 for some in (gradients, weights))
            assert found[0] == pytest.approx(np.log(length / size), abs=1e-4)


def test_learn_and_test_share_no_name_and_no_picture(data: Denials, asked: Asked) -> None:
    for questions in asked.questions.values():
        sides: list[set[object]] = [set(), set()]
        for one in questions:
            if one.half is not None:
                sides[one.half] |= {one.picture, *(asked.texts[place] for place in (one.one, one.other) if place >= 0)}
        assert not sides[0] & sides[1]
        assert min(map(len, sides)) > 30
    # The name that a caption is about, too, though only the text tells it.
    told = {text: one for one in data.denials for text in (one.affirmed, one.denied)}
    names: list[set[str]] = [set(), set()]
    for one in asked.questions[NEGATED]:
        text = asked.texts[one.text]
        if one.half is not None and text in told:
            names[one.half].add(told[text].present)
    assert not names[0] & names[1]


def test_questions_are_balanced(asked: Asked) -> None:
    for what, questions in asked.questions.items():
        assert np.mean([one.answer for one in questions]) == pytest.approx(0.5, abs=0.06), what
    first = []
    for one in asked.questions[DENIED_THING]:
        denied = asked.texts[one.one if one.answer else one.other]
        first.append(asked.texts[one.text].find(denied) < 8)
    assert np.mean(first) == 0.5


def test_a_probe_finds_what_is_there_and_nothing_in_words_without_order(asked: Asked) -> None:
    """Towers as they might be: one whose texts are what they affirm less what they deny, and one that adds up words."""
    rng = np.random.default_rng(0)
    vectors = {name: rng.normal(size=24) for name in NAMES}
    words = {word: rng.normal(size=24) for text in asked.texts for word in text.split()}

    def read(text: str) -> Any:
        found = np.zeros(24)
        for name in NAMES:
            at = text.find(name)
            if at >= 0:
                found += -vectors[name] if text[:at].endswith("no ") else vectors[name]
        return found

    knows: States = np.array([read(text) for text in asked.texts], np.float32)
    bag: States = np.array(
        [np.mean([words[word] for word in text.split()], axis=0) for text in asked.texts], np.float32
    )
    right: dict[str, list[float]] = {}
    for state_NW in (knows, bag):
        for what, questions in asked.questions.items():
            found = probe(state_NW, questions)
            assert found is not None
            assert len({*found[0].tolist()}) == len(found[0])
            right.setdefault(what, []).append(float(found[1].mean()))
    assert right[DENIED_THING][0] > 0.9
    assert right[DENIED_THING][1] == pytest.approx(0.5, abs=0.07)
    assert right[NEGATED][1] > 0.95  # a word tells it


def test_too_few_questions_are_not_answered(model: Model) -> None:
    few = asked_of(denials(12), 0)
    by_level = states(model, few.texts)
    assert [*by_level] == [BAG, "block 0", "block 1"]
    assert probe(by_level[BAG], few.questions[DENIED_THING]) is None


def test_distances_are_cosines(asked: Asked) -> None:
    state_NW = np.random.default_rng(0).normal(size=(len(asked.texts), 8)).astype(np.float32)
    one, other = torch.tensor(state_NW)[asked.twins.T]
    assert distances(state_NW, asked.twins) == pytest.approx((1 - F.cosine_similarity(one, other)).numpy(), abs=1e-6)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sightword data negate` writes of a user's captions."""
    folder = tmp_path_factory.mktemp("own")
    rows = world(400, seed=3)
    for number, (key, _, _) in enumerate(rows):
        make_picture(32, 32, seed=number).save(folder / key)
    captions, objects = write_jsonl(folder, rows)
    negate(captions, objects, folder / "negated.parquet", probe=lambda rows: [])
    return folder / "negated.parquet"


def test_a_table_of_ones_own_and_the_report(
    checkpoint: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    out, file, report = tmp_path / "results", tmp_path / "found.json", tmp_path / "report.html"
    words = ["evaluate", str(checkpoint), "--suite", str(table), "--out", str(out)]
    assert command([*words, "--json", str(file), "--report", str(report)]) == 0
    shown = capsys.readouterr().out
    rows = json.loads(file.read_text())["results"]
    assert {row["task"] for row in rows} == {"layers"}
    levels = [BAG, "block 0", "block 1"]
    probes = [row for row in rows if row["metric"] == "top1"]
    assert {row["prompt"] for row in probes} == {NEGATED}  # too few texts with two names in a table so small
    assert [row["split"] for row in probes] == levels
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] > 40 for row in probes)
    assert f"negated.parquet, {BAG}" in shown or f"negated, {BAG}" in shown
    assert [row["split"] for row in rows if row["metric"] == DISTANCE] == levels
    for loss in LOSSES:
        pulls = [row for row in rows if (row["prompt"], row["metric"]) == (loss, GRADIENT)]
        assert [row["split"] for row in pulls] == levels[1:]
        assert all(row["low"] <= row["value"] <= row["high"] for row in pulls)
    page = Page(report.read_text(encoding="utf-8"))
    for text in (
        "Layers of the text tower",
        "does the text deny anything",
        f"question `{DENIED_THING}`",
        "Gradients of negation: absence",
    ):
        assert text in page.text
    assert GRADIENT not in page.text  # those are figures
    assert len([*(tmp_path / "report-figures").glob("*.png")]) == 5
    # It is kept, and not made again.
    found = evaluate([Subject("m", loaded(checkpoint), 1)], find_data([str(table)], None), Results(out))
    assert found.reused == 1


def loaded(checkpoint: Path) -> Model:
    import sightword

    return sightword.load(checkpoint, device="cpu", decode="exact")


def test_texts_with_two_names_are_known_by_the_way_they_were_made(table: Path) -> None:
    (wanted,) = find_data([str(table)], None)
    data = open_split(wanted.spec, wanted.root, "test")
    assert isinstance(data, Denials)
    assert len(data.one_denied) > 20
    for one, twin in zip(data.one_denied[::2], data.one_denied[1::2], strict=True):
        assert (one.affirmed, one.denied) == (twin.denied, twin.affirmed)
        words, others = ({*re.findall(r"\w+", text.lower())} - {"a", "an"} for text in (one.text, twin.text))
        assert words == others
        at = {name: one.text.lower().find(name) for name in (one.affirmed, one.denied)}
        assert re.search(r"\b(no|not|without) ((an?|any) )?$", one.text.lower()[: at[one.denied]])
    assert not {one.denied for one in data.one_denied} & {""}


def test_a_bare_table_is_asked_what_it_can_tell(model: Model, table: Path, tmp_path: Path) -> None:
    """Without names nothing is held out by name, and which thing is denied cannot be asked."""
    bare = table.with_name("bare.parquet")
    pq.write_table(pq.read_table(table).select(["path", "text", "denied", "absent"]), bare)
    found = evaluate([Subject("m", model, 1)], find_data([str(bare)], None), Results(tmp_path))
    (record,) = found.records
    assert {row.prompt for row in record.rows if row.metric == "top1"} == {NEGATED}
    assert len(record.details["layers"]["remarks"]) == 2
    assert "by picture alone" in record.details["layers"]["remarks"][0]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (["path", "text"], "no column denied"),
        (["path", "denied"], "no column text or caption"),
        (["text", "denied"], "no column of images"),
        (["path", "text", "denied"], "the losses of negation need 8"),
    ],
)
def test_tables_that_lack_something(model: Model, table: Path, tmp_path: Path, columns: list[str], told: str) -> None:
    less = table.with_name(f"{'-'.join(columns)}.parquet")
    pq.write_table(pq.read_table(table).select(columns), less)
    with pytest.raises(RequestError, match=told):
        evaluate([Subject("m", model, 1)], find_data([str(less)], None), Results(tmp_path))
    assert not [*tmp_path.glob("records/*")]


def test_models_that_cannot_be_looked_into_are_refused(model: Model) -> None:
    with pytest.raises(RequestError, match="ONNX"):
        text_tower(object())
    half = Embedder(type(model.model)(model.model.config), model.contract, model.tokenizer, "cpu", precision="bf16")
    with pytest.raises(RequestError, match="in fp32 and not bf16"):
        text_tower(half)


def test_the_task_alone_takes_its_own_scenes(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from sightword.evaluation import runner

    wanted: list[str] = []
    monkeypatch.setattr(
        runner, "evaluate", lambda subjects, asked, *rest: wanted.extend(one.spec.name for one in asked)
    )
    measure([model], task=["layers"], out=tmp_path)
    measure([model], task=["layers", "choice"], out=tmp_path)
    assert wanted[0] == "scenes_layers"
    assert "digits" in wanted[1:]


def test_pictures_that_are_left_out_take_their_captions_along(data: Denials) -> None:
    less = data.take(np.array([4, 2]))
    assert [one.present for one in less.denials] == [data.denials[place].present for place in (2, 4)]
    assert [one.image for one in less.denials] == [1, 0]
    assert less.fingerprint() != data.fingerprint()
    with pytest.raises(RequestError, match="of picture 9"):
        replace(less, denials=[replace(less.denials[0], image=9)])
