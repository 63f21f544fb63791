"""Training on companions: from a recipe to a run that goes on, in pieces, and computed again."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import sightword
from sightword.checkpoints.renaming import to_ours, to_theirs
from sightword.checkpoints.transformers_clip import _table
from sightword.data.companions import companions_record
from sightword.data.folder import read_pairs
from sightword.data.pairs import NO_LABEL, Batch, Beside, Companions, PairList, Tokens
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.denials import denial_rows
from sightword.towers.configs import DualEncoderConfig, TextConfig, ViTConfig
from sightword.towers.dual import DualEncoder
from sightword.training import guard as guard_module
from sightword.training.encoders import Encoders
from sightword.training.guard import replay
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.objective import make_objective
from sightword.training.recipe import Recipe, TrainingRecipe, read_recipe
from tests.training.conftest import COLOURS
from tests.training.test_big_batch import Exact
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights
from tests.training.test_ranks import finish, same, start

MCQ, TAGS = "training.negation.mcq=1", "training.tag_loss=1"
LOSSES = {
    "omni-neg": ("training.loss=omni-neg", MCQ, TAGS),
    "negclip": ("training.loss=negclip",),  # con-clip is negclip with other texts
    "sigmoid": ("training.loss=sigmoid", TAGS),
}
OTHER = dict(zip(COLOURS, [*COLOURS][1:] + [*COLOURS][:1], strict=True))


@pytest.fixture(scope="module")
def told(pairs: PairList) -> PairList:
    """Of every fourth pair no companions."""
    found = []
    for number, pair in enumerate(pairs):
        _, colour, shape = pair.texts[0].split()
        companions = Companions(
            denied=(f"a {shape} that is not {colour}", f"no {colour} {shape}"),
            absent=(f"a {shape} that is not {OTHER[colour]}", f"no {OTHER[colour]} {shape}"),
            foils=(f"a {OTHER[colour]} {shape}",),
            tags=(colour, shape),
            mcq=((f"a {colour} {shape}", f"a {OTHER[colour]} {shape}", f"no {colour} {shape}")[: 2 + number % 2],) * 2,
        )
        found.append(replace(pair, companions=companions if number % 4 else None))
    return PairList(found)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    few = ("training.steps=6", "training.every=2", "data.workers=0")
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", (*few, *changes))


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in read_log(folder / "log.jsonl") if event["event"] == "step"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_goes_on_and_goes_in_pieces(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path, loss: str):
    asked = LOSSES[loss]
    train(recipe(*asked), tmp_path / "whole", told)
    with pytest.raises(StopError):
        train(recipe(*asked), tmp_path / "cut", told, validate=interrupt_after(2))
    train(recipe(*asked), tmp_path / "cut", told)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    train(recipe(*asked, "training.micro_batch=5"), tmp_path / "pieces", told)
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)


def test_ranks_make_the_run_of_one(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    table = tmp_path / "told.jsonl"
    rows = [
        {"path": str(pair.image), "text": pair.texts[0], **companions_record(pair.companions)} for pair in told.pairs
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    changes = ["training.steps=4", *LOSSES["omni-neg"], "training.lr=1e-4", "training.batch_size=15"]
    ranks = start(2, tmp_path / "recipe.toml", table, tmp_path / "two", ["data.workers=0", *changes])
    train(recipe(*changes), tmp_path / "one", read_pairs(table))
    for code, text in finish(ranks):
        assert code == 0, text
    same(weights(tmp_path / "two"), weights(tmp_path / "one"))
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)


def test_what_is_denied_is_learned(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    resolved = recipe("training.loss=omni-neg", "training.steps=120", "training.negation.text=0")
    train(resolved, tmp_path / "run", told)
    rows = denial_rows(sightword.load(tmp_path / "run" / "model"), told)
    assert {name: row["n"] for name, row in rows.items()} == {"presence": 48, "absence": 48}
    assert rows["presence"]["value"] > 0.9
    assert rows["absence"]["value"] > 0.9


def test_a_refused_step_is_computed_again_to_the_bit(
    recipe: Callable[..., Recipe], told: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(guard_module, "_FIRST", 2)
    resolved = recipe(*LOSSES["omni-neg"], "training.steps=40", "training.spike=1.02")
    with pytest.raises(SightwordError, match="was not taken"):
        train(resolved, tmp_path / "run", told)
    (file,) = (tmp_path / "run").glob("bad-step-*.pt")
    record = torch.load(file, weights_only=True)
    assert replay(file, resolved, told, "cpu").loss == record["figures"]["loss"]


def test_pairs_without_companions_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(RequestError, match=r"'con-clip' needs pairs with texts that are .denied"):
        train(recipe("training.loss=con-clip"), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()


def test_the_names_are_in_the_loss(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    for name, asked in (("with", [TAGS]), ("without", [])):
        train(recipe(*asked), tmp_path / name, told)
    assert losses(tmp_path / "without")[0] < losses(tmp_path / "with")[0]


def test_names_are_learned_from_pictures_of_several(recipe: Callable[..., Recipe], told: PairList, tmp_path: Path):
    """By captions alone no text of the run is a shape by itself."""
    train(recipe(TAGS, "training.steps=120"), tmp_path / "run", told)
    model = sightword.load(tmp_path / "run" / "model")
    shapes = sorted({pair.texts[0].split()[2] for pair in told})
    scores = model.embed_images([pair.image for pair in told]) @ model.embed_texts(shapes).T
    right = [shapes[best] == pair.texts[0].split()[2] for best, pair in zip(scores.argmax(axis=1), told, strict=True)]
    assert sum(right) > 0.9 * len(right)


def test_pairs_without_tags_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(RequestError, match=r"training.tag_loss needs pairs with texts that are .tags"):
        train(recipe(TAGS), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["training.negation.text=0"], r"\[training.negation\] is for loss = 'omni-neg' only"),
        (["training.loss=omni-neg", "training.negation.presence=0", "training.negation.stage2=0"], "nothing is left"),
        (["training.loss=negclip", "training.bank=true"], "`bank` does not go with loss = 'negclip'"),
        (["training.loss=omni-neg", "training.smoothing=0.1"], "smoothing"),
        (["training.loss=omni-neg", "training.negation.margn=0.1"], "margin"),
    ],
)
def test_what_does_not_go_together(recipe: Callable[..., Recipe], changes: list[str], message: str):
    with pytest.raises(RequestError, match=message):
        recipe(*changes)


def test_only_what_has_a_weight_is_asked_for(recipe: Callable[..., Recipe]):
    assert recipe("training.loss=omni-neg").training.kinds == ("denied", "absent")
    assert recipe("training.loss=omni-neg", "training.negation.stage2=0").training.kinds == ("denied",)
    assert recipe("training.loss=negclip", "training.negation={}").training.kinds == ("foils",)
    assert recipe("training.loss=omni-neg", "training.negation.choice=1").training.kinds == (
        "denied", "absent", "foils",
    )  # fmt: skip
    assert recipe("training.loss=omni-neg", "training.negation.presence=0").training.kinds == ("absent",)
    assert recipe().training.kinds == recipe().training.listed == ()
    assert recipe("training.loss=omni-neg", MCQ).training.listed == ("mcq",)
    assert recipe("training.loss=omni-neg", MCQ, TAGS).training.listed == ("tags", "mcq")


CLIP = DualEncoderConfig(
    embed_dim=12,
    image=ViTConfig(image_size=16, patch=8, width=24, layers=2, heads=2),
    text=TextConfig(vocabulary=50, context=9, width=16, layers=12, heads=2),
)
ROWS, END = 6, 49


def texts(seed: int, labels: list[int]) -> Beside:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(3, 10, (ROWS,), generator=generator)
    ids = torch.randint(1, END, (ROWS, 9), generator=generator)
    ids[torch.arange(9) >= lengths[:, None] - 1] = 0
    ids[torch.arange(ROWS), lengths - 1] = END
    return Beside(Tokens(ids, lengths), torch.tensor(labels))


def clip_batch() -> Batch:
    images = torch.randint(0, 256, (ROWS, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    beside = {"denied": texts(2, [20, 21, 22, NO_LABEL, 24, 25]), "absent": texts(3, [30, 31, NO_LABEL, 33, 34, 35])}
    labels = torch.arange(2 * ROWS).reshape(ROWS, 2)
    return Batch(images, texts(1, [0] * ROWS).tokens, labels, ("",) * ROWS, torch.arange(ROWS), beside=beside)


def entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, torch.arange(len(logits)))


def their_loss(theirs: Any, batch: Batch, loss: str) -> Tensor:
    """With nothing of ours."""

    def text_of(tokens: Tokens) -> Tensor:
        mask = torch.arange(tokens.ids.shape[1]) < tokens.lengths[:, None]
        found = theirs.text_model(input_ids=tokens.ids, attention_mask=mask.long()).pooler_output
        return F.normalize(theirs.text_projection(found), dim=1)

    image = F.normalize(theirs.visual_projection(theirs.vision_model(batch.images.double() / 255).pooler_output), dim=1)
    text, denied, absent = map(text_of, (batch.tokens, batch.beside["denied"].tokens, batch.beside["absent"].tokens))
    there, also = batch.beside["denied"].there, batch.beside["absent"].there
    scale = theirs.logit_scale.exp()
    by_image = entropy(scale * image @ torch.cat([text, denied[there]]).T)
    by_text = entropy(scale * text @ image.T)
    if loss == "con-clip":
        return (by_image + by_text) / 2
    own, wrong = ((image * one).sum(dim=1)[there] for one in (text, denied))
    presence = (by_image + by_text + F.softplus(scale * (wrong - own)).mean()) / 3

    def symmetric(one: Tensor, other: Tensor) -> Tensor:
        return (entropy(scale * one @ other.T) + entropy(scale * other @ one.T)) / 2

    hinge = ((text * absent).sum(dim=1)[also] + 0.9).clamp(min=0).mean()
    return presence + symmetric(image[also], absent[also]) + symmetric(image, text) + hinge


@pytest.mark.parametrize("loss", ["omni-neg", "con-clip"])
def test_a_step_on_weights_of_openais_shape_is_that_of_the_formulas(transformers: ModuleType, loss: str):
    torch.manual_seed(0)
    model = DualEncoder(CLIP).double().train()
    common = {"hidden_act": "quick_gelu", "intermediate_size": 64}
    config = transformers.CLIPConfig(
        projection_dim=12,
        vision_config={
            "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
            **common, "intermediate_size": 96,
        },
        text_config={
            "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 12, "num_attention_heads": 2,
            "max_position_embeddings": 9, "bos_token_id": 1, "eos_token_id": END, **common,
        },
    )  # fmt: skip
    theirs = transformers.CLIPModel(config).double().train()
    table = _table(2, 12)
    theirs.load_state_dict(to_theirs(table, model.state_dict()))
    batch = clip_batch()
    expected = their_loss(theirs, batch, loss)
    expected.backward()
    encoders = Encoders(model, Exact(), bf16=False)  # type: ignore[arg-type]
    objective = make_objective(TrainingRecipe(steps=1, batch_size=ROWS, lr=1e-3, loss=loss), model, None)  # type: ignore[arg-type]
    kinds = {kind: beside for kind, beside in batch.beside.items() if loss == "omni-neg" or kind == "denied"}
    batch = replace(batch, beside=kinds)
    found = objective(encoders(batch), batch, None)
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-9)
    gradients = to_ours(table, {name: parameter.grad for name, parameter in theirs.named_parameters()})
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-6, atol=1e-9, msg=name)
