"""Long-CLIP from any start: longer texts, both captions of a picture, the first positions as they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.renaming import to_theirs
from sightword.data.images import ImageSpec
from sightword.data.long_texts import first_sentence, long_pair, with_long
from sightword.data.mixture import Mixture
from sightword.data.pairs import Companions, Pair, PairList, Tokens
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.evaluation.card import model_card
from sightword.evaluation.validation import long_row
from sightword.objectives import LongText
from sightword.towers.configs import BertConfig, DualEncoderConfig, TextConfig, TextEncoderConfig, ViTConfig
from sightword.towers.dual import DualEncoder
from sightword.towers.positions import stretch
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.model_recipe import StretchRecipe
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.start import Start
from sightword.training.stretching import stretched
from tests.training.long_reference import long_clip_loss
from tests.training.test_loop import StopError, equal, interrupt_after, weights
from tests.training.test_ranks import same
from tests.training.test_sharded import shared
from tests.training.test_start import as_siglip, save_changed

PAGE = """
title = "long captions"
[data]
source = "pairs"
path = "unused here"
validation = 0.0
[model]
start = "START"
[model.stretch]
keep = 6
[training]
loss = "long-clip"
smoothing = 0.1
steps = 4
batch_size = 24
lr = 1e-2
decay = 0.5
every = 2
[training.long]
components = 5
"""


@pytest.fixture
def recipe(tmp_path: Path, checkpoint: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE.replace("START", str(checkpoint)))
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", changes)


@pytest.fixture(scope="module")
def long_pairs(pairs: PairList) -> PairList:
    def told(pair: Pair) -> Pair:
        text = f"{pair.texts[0]} is drawn in the middle of a small white square, and there is nothing else to be seen"
        return replace(pair, companions=Companions(long=(text, f"{text} at all")))

    return PairList([told(pair) for pair in pairs])


def test_a_run_reads_longer_texts_and_keeps_the_first_positions(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path, encoder: DualEncoder
) -> None:
    said: list[str] = []
    train(recipe("training.ema=0.5"), tmp_path / "run", long_pairs, announce=said.append)
    model = sightword.load(tmp_path / "run" / "model", device="cpu")
    assert model.contract.text.context == model.contract.architecture.text.context == 6 + 4 * 10
    before, after = encoder.text.positions.detach(), model.model.text.positions.detach()  # type: ignore[union-attr]
    assert torch.equal(after[:6], before[:6])
    assert not (after[6:] == stretch(before, 6, 46)[6:]).any()
    told = model.contract.provenance
    assert told["stretch"] == {"from": 16, "to": 46, "keep": 6}
    # The tokenizer is small: a word has many tokens.
    assert told["cut"]["cut"] == 16 < told["cut"]["texts"]
    assert "16 of 24 texts have more than the 44 tokens that the model reads" in said[1]
    # What is read now and was not before makes a difference.
    one, other = model.embed_texts(["a red disc", "a red disc on a white ground, very small"])
    assert float(one @ other) < 1 - 1e-4


def test_a_run_goes_on_and_pieces_and_the_end_towards_the_start_are_as_they_should_be(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path, encoder: DualEncoder
) -> None:
    train(recipe(), tmp_path / "whole", long_pairs)
    with pytest.raises(StopError):
        train(recipe(), tmp_path / "cut", long_pairs, validate=interrupt_after(2))
    train(recipe(), tmp_path / "cut", long_pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    train(recipe("training.micro_batch=10"), tmp_path / "pieces", long_pairs)
    first, other = (
        [event["loss"] for event in read_log(tmp_path / name / "log.jsonl") if event["event"] == "step"]
        for name in ("whole", "pieces")
    )
    assert first == pytest.approx(other, rel=1e-4)
    mixed = recipe("training.wise=[0.3]", "data.validation=0.1")
    train(mixed, tmp_path / "mixed", long_pairs, validate=lambda embedder: {"value": 0.5})
    kept = encoder.text.positions[:6]  # type: ignore[index]
    assert torch.equal(weights(tmp_path / "mixed")["text.positions"][:6], kept)


def test_ranks_that_share_the_model_take_the_steps_of_those_that_do_not(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path, encoder: DualEncoder
) -> None:
    """Components are those of a rank's own rows, so that one rank is no reference for two."""
    few = ("training.lr=1e-3", "training.steps=2", "training.ema=0.9", "data.workers=0")
    for parallel in ("ddp", "fsdp"):
        shared(2, recipe(*few, f"training.parallel={parallel}"), tmp_path / parallel, long_pairs)
    same(weights(tmp_path / "fsdp"), weights(tmp_path / "ddp"))
    kept = encoder.text.positions[:6]  # type: ignore[index]
    assert all(torch.equal(weights(tmp_path / name)["text.positions"][:6], kept) for name in ("ddp", "fsdp"))


def test_pairs_without_long_captions_give_their_first_sentences() -> None:
    assert first_sentence("A red\ndisc. It is small. Etc.") == "A red disc"
    assert first_sentence("3.5 discs, e.g. red ones") == "3.5 discs, e.g"
    assert first_sentence("a disc.") == "a disc."
    plain = Pair("x", ("A disc. It is red.", "A circle"), "k")
    changed = long_pair(plain)
    assert changed.texts == ("A disc", "A circle")
    assert changed.companions == Companions(long=plain.texts)
    both = replace(plain, companions=Companions(long=("Much.",), absent=("no bar",)))
    assert long_pair(both) is both
    source = with_long(Mixture([PairList([plain]), PairList([both])], (1.0, 1.0), [("{}",), ("{}",)]))
    assert isinstance(source, Mixture)
    assert [pair.texts[0] for pair in source] == ["A disc", "A disc. It is red."]
    assert source.fingerprint == Mixture([PairList([plain]), PairList([both])], (1.0, 1.0), []).fingerprint


def test_a_run_is_watched_on_both_captions(recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = []

    def validate(embedder: Any) -> dict[str, Any]:
        rows.append(long_row(embedder, long_pairs))
        return rows[-1]

    def card(contract: Contract, parameters: int) -> str:
        return model_card("long", contract, "native", parameters)

    train(recipe("training.keep=best"), tmp_path / "run", long_pairs, validate=validate, card=card)
    assert {row["prompt"] for row in rows} == {"long"}
    assert {row["short"]["prompt"] for row in rows} == {"short"}
    assert all(row["score"] == (row["value"] + row["short"]["value"]) / 2 for row in rows)
    best = max(range(len(rows)), key=lambda place: (rows[place]["score"], -place))
    told = json.loads((tmp_path / "run" / "model" / "contract.json").read_text())["provenance"]["training"]
    assert told["weights_of_step"] == (0, 2, 4)[best]
    assert "On the pairs held out (long prompt):" in (tmp_path / "run" / "model" / "README.md").read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.stretch.ratio=4", "model.stretch.context=40"], "give one of them"),
        (["model.stretch.keep=-1"], "model.stretch.keep"),
        (["training.loss=infonce"], r"\[training.long\] is for loss = 'long-clip'"),
        (["training.long.components=0"], "training.long.components"),
        (["training.bank=true"], "`bank` does not go with loss"),
    ],
)
def test_recipes_that_contradict_themselves(recipe: Callable[..., Recipe], changes: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        recipe(*changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.stretch.keep=15"], "model.stretch: of 16 positions, 15 cannot be kept"),
        (["model.stretch.context=15"], "model.stretch: 16 positions cannot be stretched to 15"),
        (["training.long.components=23"], r"of 24 pictures in 32 dimensions.*at most 22\), or a rank 25 pictures"),
        (["training.long.components=32", "training.batch_size=40"], "at most 31"),
    ],
)
def test_what_a_start_or_a_batch_does_not_allow(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        train(recipe(*changes), tmp_path / "run", long_pairs)


def with_bert(folder: Path, contract: Contract, tokenizer: Tokenizer) -> None:
    """A checkpoint whose text tower is a small BERT of 60 positions, of which it reads as many as the contract says."""
    encoder = BertConfig(
        vocabulary=tokenizer.vocabulary, positions=60, segments=1, width=32, layers=2, heads=2, mlp_width=64,
        activation="gelu", eps=1e-12,
    )  # fmt: skip
    config = TextEncoderConfig(encoder=encoder, context=contract.text.context)
    save_changed(folder, contract, tokenizer, {"text": config})


def test_an_encoder_reads_more_of_the_positions_that_it_has(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path, contract: Contract, tokenizer: Tokenizer
) -> None:
    with_bert(tmp_path / "start", contract, tokenizer)
    start, run = f"model.start={tmp_path / 'start'}", tmp_path / "run"
    before = sightword.load(tmp_path / "start", device="cpu")
    train(recipe(start, "model.stretch.context=50", "training.lr=1e-30"), run, long_pairs)
    after = sightword.load(run / "model", device="cpu")
    assert (before.contract.text.context, after.contract.text.context) == (16, 50)
    # What it could read it reads as before, and what was cut off makes a difference now.
    short, long = ["a red disc"], ["a red disc on a white ground, very small"]
    np.testing.assert_allclose(after.embed_texts(short), before.embed_texts(short), atol=1e-6)
    assert np.abs(after.embed_texts(long) - before.embed_texts(long, truncate=True)).max() > 1e-4
    with pytest.raises(RequestError, match="has 60 positions and reads 16: 61 are not between the two"):
        train(recipe(start, "model.stretch.context=61"), tmp_path / "other", long_pairs)


def test_a_text_tower_of_another_kind(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, encoder: DualEncoder, contract: Contract,
    tokenizer: Tokenizer,
) -> None:  # fmt: skip
    as_siglip(tmp_path / "start", encoder, contract, tokenizer)
    with pytest.raises(RequestError, match="this one is not causal and pooled at the last position"):
        train(recipe(f"model.start={tmp_path / 'start'}"), tmp_path / "run", pairs)


def test_a_start_that_reads_long_texts_already_keeps_its_context(
    recipe: Callable[..., Recipe], long_pairs: PairList, tmp_path: Path
) -> None:
    train(recipe("training.steps=1"), tmp_path / "one", long_pairs)
    again = recipe(f"model.start={tmp_path / 'one' / 'model'}", "model.stretch.context=46", "training.steps=1")
    train(again, tmp_path / "two", long_pairs)
    one, two = (weights(tmp_path / name)["text.positions"] for name in ("one", "two"))
    assert one.shape == two.shape == (46, 64)
    assert torch.equal(one[:6], two[:6])
    assert not (one[6:] == two[6:]).any()


# A step against the authors' way, in float64.


def openai_shaped(tokenizer: Tokenizer, image: ViTConfig, text: TextConfig, dim: int) -> Start:
    """Random weights of OpenAI's layout that tell inputs apart; what is beside them does not matter here."""
    torch.manual_seed(0)
    architecture = DualEncoderConfig(embed_dim=dim, image=image, text=text)
    model = DualEncoder(architecture)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if name == "text.positions":
                parameter.mul_(5)
    spec = tokenizer.spec.model_copy(update={"context": text.context})
    contract = Contract(architecture=architecture, image=ImageSpec(size=image.image_size), text=spec)
    return Start(model, contract, Tokenizer(tokenizer.engine, spec), "random", "sha256:0")


def texts_of(count: int, shortest: int, longest: int, context: int, vocabulary: int, seed: int) -> Tokens:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(shortest, longest + 1, (count,), generator=generator)
    ids = torch.randint(1, vocabulary - 1, (count, context), generator=generator)
    ids[torch.arange(count), lengths - 1] = vocabulary - 1  # the end is the largest id
    ids[torch.arange(context) >= lengths[:, None]] = 0
    return Tokens(ids, lengths)


class Difference(NamedTuple):
    """Of the loss, of all gradients together, and of that of each tensor, relative."""

    loss: float
    gradient: float
    gradients: dict[str, float]


def compare_step(start: Start, count: int, components: int, dtype: torch.dtype) -> Difference:
    start = stretched(start, StretchRecipe())
    model, config = start.model.to(dtype).train(), start.contract.architecture
    vocabulary = config.text.vocabulary  # type: ignore[union-attr]
    context, size = start.contract.text.context, config.image.image_size
    assert context == 248
    short, long = (
        texts_of(count, *lengths, context, vocabulary, seed) for seed, lengths in enumerate([(4, 20), (60, 248)])
    )
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(2))
    # Trimmed, and packed by the tower.
    trimmed = Tokens(short.ids[:, : int(short.lengths.max())], short.lengths)
    vectors = model.encode_image(images.to(dtype)), model.encode_text(trimmed), model.encode_text(long)
    loss = LongText(components, smoothing=0.1)(*vectors, model.scale)
    loss.backward()

    plain = {name: tensor.detach() for name, tensor in model.state_dict().items() if name != "text.kept_positions"}
    kept = model.text.kept_positions  # type: ignore[union-attr]
    table = names_of(plain, custom=False)
    gradients = to_theirs(table, {name: parameter.grad for name, parameter in model.named_parameters()})  # type: ignore[misc]
    theirs = {name: tensor.double() for name, tensor in to_theirs(table, plain).items()}
    res = F.pad(theirs.pop("positional_embedding"), (0, 0, len(kept), 0))
    theirs["positional_embedding_res"] = res
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in theirs.items()}
    fixed = F.pad(kept.double(), (0, 0, 0, context - len(kept)))
    expected = long_clip_loss(
        {**leaves, "positional_embedding": fixed}, images.double(), short.ids, long.ids, len(kept), components
    )
    expected.backward()
    gradients["positional_embedding_res"] = F.pad(gradients.pop("positional_embedding"), (0, 0, len(kept), 0))
    apart = {name: gradients[name].double() - leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    assert apart.keys() == gradients.keys()
    whole = [torch.nn.utils.get_total_norm(part) for part in (apart.values(), [leaf.grad for leaf in leaves.values()])]
    return Difference(
        float(loss.detach().double() / expected.detach()) - 1,
        float(whole[0] / whole[1]),
        {name: float(difference.norm() / leaves[name].grad.norm()) for name, difference in apart.items()},  # type: ignore
    )


def small(tokenizer: Tokenizer) -> Start:
    image = ViTConfig(image_size=32, patch=8, width=128, layers=2, heads=2)
    text = TextConfig(vocabulary=300, context=77, width=64, layers=2, heads=1)
    return openai_shaped(tokenizer, image, text, 64)


def test_a_step_is_that_of_a_float64_reference(tokenizer: Tokenizer) -> None:
    exact = compare_step(small(tokenizer), 48, 32, torch.float64)
    assert abs(exact.loss) < 1e-12
    assert max(exact.gradients.values()) < 1e-9, exact
    single = compare_step(small(tokenizer), 48, 32, torch.float32)
    assert abs(single.loss) < 1e-6
    # The vectors' own rounding, magnified by the small gaps between the components; the authors' way has 1.9e-5 here.
    assert single.gradient < 1.5e-5
