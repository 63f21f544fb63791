"""Dense training: LSeg on top of a checkpoint goes through the same loop as every recipe."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

import sightword
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import Made
from sightword.data.masked import Masked, MaskedPicture
from sightword.data.masked_pairs import MaskedPairs
from sightword.data.pairs import VOID, Batch, Pair, PairList, Truth
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.validation import dense_row
from sightword.towers.backbone import BackboneConfig, register_backbone
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset
from sightword.towers.resnet import ResNetConfig
from sightword.training.build import build
from sightword.training.dense import DenseStepper, LabelVectors
from sightword.training.guard import replay
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.ranks import ALONE
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.setup import set_up
from tests.towers.test_lseg import Flat
from tests.training.conftest import COLOURS, draw
from tests.training.test_loop import PAGE as CLIP
from tests.training.test_loop import StopError, equal, interrupt_after, weights

PAGE = """
title = "colours and shapes, pixel by pixel"
[data]
source = "scenes"
validation = 0.0
workers = 0
[augment]
crop = [0.8, 1.0]
flip = 0.5
brightness = 0.1
[model]
start = "START"
[model.dense]
size = 32
channels = [8, 8, 8, 8]
features = 16
block = "bottleneck"
depth = 1
[training]
steps = 6
batch_size = 4
lr = 3e-3
warmup = 2
every = 2
"""
NAMES = ("other", *(f"a {colour}" for colour in COLOURS), "a moon")


def drawn(colour: str, shape: str, seed: int) -> NDArray[np.uint8]:
    """A thing in the upper left of a picture of 32 pixels."""
    pixels = np.full((32, 32, 3), 255, np.uint8)
    pixels[4:20, 4:20] = np.asarray(draw(colour, shape, seed))
    return pixels


def mask(pixels: NDArray[np.uint8], labels: tuple[str, ...], colour: str) -> NDArray[np.int16]:
    found = np.where((pixels == 255).all(axis=2), labels.index("other"), labels.index(f"a {colour}"))
    found[:2] = VOID
    return found.astype(np.int16)


def scene(index: int) -> Pair:
    rng = np.random.default_rng(index)
    colour, shape = tuple(COLOURS)[index % 4], ("disc", "bar")[index // 4 % 2]
    pixels = drawn(colour, shape, index)
    labels = ("other", f"a {colour}", *rng.choice([name for name in NAMES[1:] if colour not in name], 2, replace=False))
    labels = tuple(str(labels[place]) for place in rng.permutation(4))
    return Pair(pixels, labels, f"scene-{index}", mask=partial(mask, pixels, labels, colour))


SCENES = PairList([scene(index) for index in range(24)])


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory, pairs: PairList) -> Path:
    """A CLIP of a few steps."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "recipe.toml").write_text(CLIP)
    train(read_recipe(folder / "recipe.toml", ["training.steps=20"]), folder / "run", pairs)
    return folder / "run" / "model"


@pytest.fixture
def recipe(start: Path, tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE.replace("START", str(start)))
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", changes)


def test_it_learns_and_is_a_checkpoint_like_any_other(recipe: Callable[..., Recipe], start: Path, tmp_path: Path):
    changes = ("training.steps=80", "training.batch_size=8", "training.ema=0.9", "model.image.train=none")
    train(recipe(*changes), tmp_path / "run", SCENES)
    model, before = sightword.load(tmp_path / "run" / "model"), sightword.load(start)
    fresh = PairList([scene(index) for index in range(100, 116)])
    row = dense_row(model, fresh, ("{}",))
    assert (row.metric, row.n, row.interval) == ("miou", 16, "bootstrap")
    assert row.value > 0.5
    # The towers are those of the start, and so are the vectors of whole pictures and of texts.
    assert "dense" in model.contract.architecture.model_dump()
    pictures = [draw(colour, "disc", 1) for colour in COLOURS]
    assert np.array_equal(model.embed_images(pictures), before.embed_images(pictures))
    assert np.array_equal(model.embed_texts(NAMES), before.embed_texts(NAMES))
    assert model.contract.provenance["start"]["fingerprint"] == before.fingerprint


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_segmenter_gives_the_same_masks_for_labels_in_any_order(
    recipe: Callable[..., Recipe], tmp_path: Path, depth: int
):
    train(recipe("training.steps=2", f"model.dense.depth={depth}"), tmp_path / "run", SCENES)
    model, rng = sightword.load(tmp_path / "run" / "model"), np.random.default_rng(0)
    names = [*NAMES, *(f"a {noun}" for noun in ("dog", "cat", "wheel", "cloud"))]
    picture = rng.integers(0, 256, (45, 70, 3)).astype(np.uint8)
    mask = np.array(names)[model.segmenter(names).predict(picture).mask]
    for _ in range(3):
        shuffled = [names[place] for place in rng.permutation(len(names))]
        assert np.array_equal(np.array(shuffled)[model.segmenter(shuffled).predict(picture).mask], mask)


def test_a_segmenter_takes_what_was_trained_unless_a_rule_is_asked_for(recipe: Callable[..., Recipe], tmp_path: Path):
    changes = ("training.steps=80", "training.batch_size=8", "model.image.train=none")
    train(recipe(*changes), tmp_path / "run", SCENES)
    model = sightword.load(tmp_path / "run" / "model")
    right = []
    for index, colour in ((200, "red"), (201, "green"), (202, "blue"), (203, "yellow")):
        pixels = scene(index).image
        found = model.segmenter(NAMES).predict(pixels).mask  # type: ignore[arg-type]
        truth = mask(pixels, NAMES, colour)  # type: ignore[arg-type]
        right.append((found == truth)[truth != VOID].mean())
    assert np.mean(right) > 0.8
    assert model.segmenter(NAMES, rule="value").scorer.size == 16
    assert model.segmenter(NAMES).scorer.stride == 2
    half = sightword.load(tmp_path / "run" / "model", precision="bf16").segmenter(NAMES).predict(scene(200).image)
    assert half.mask.shape == (32, 32)
    with pytest.raises(RequestError, match="scale is of the training-free rules"):
        model.segmenter(NAMES, scale=10.0)


def test_a_run_that_was_cut_ends_with_the_same_weights(recipe: Callable[..., Recipe], tmp_path: Path):
    resolved = recipe("training.ema=0.9", "model.image.lr=0.5", "training.smoothing=0.1")
    train(resolved, tmp_path / "whole", SCENES)
    with pytest.raises(StopError):
        train(resolved, tmp_path / "cut", SCENES, validate=interrupt_after(1))
    train(recipe("training.ema=0.9", "model.image.lr=0.5", "training.smoothing=0.1", "data.workers=2"),
          tmp_path / "cut", SCENES)  # fmt: skip
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def gradients(recipe: Recipe, *batches: Batch) -> dict[str, torch.Tensor]:
    setup = set_up(recipe, SCENES, torch.device("cpu"))
    for batch in batches or [next(setup.loader.batches(0))]:
        setup.stepper.gradients(batch, 1e-3)
    return {name: p.grad.clone() for name, p in setup.model.named_parameters() if p.grad is not None}


def test_pieces_of_a_batch_have_the_gradients_of_the_whole(recipe: Callable[..., Recipe]):
    whole, pieces = gradients(recipe()), gradients(recipe("training.micro_batch=2", "training.checkpoint_blocks=true"))
    assert whole.keys() == pieces.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-6)


def named() -> MaskedPairs:
    """The same scenes, with all their labels known."""
    pictures = [
        MaskedPicture(pair.key, partial(Image.fromarray, np.asarray(pair.image)), pair.texts, pair.mask)
        for pair in SCENES
        if pair.mask
    ]
    return MaskedPairs(Masked("scenes", "train", pictures, NAMES), b"")


def test_patches_named_among_all_names(recipe: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch):
    changes = ("model.dense.patches=0.5", "training.patch_loss=0.5", "training.checkpoint_blocks=true")
    with pytest.raises(RequestError, match="say which labels there are in all"):
        set_up(recipe(*changes), SCENES, torch.device("cpu"))
    monkeypatch.setattr("tests.training.test_dense.SCENES", named())
    whole, pieces = gradients(recipe(*changes)), gradients(recipe(*changes, "training.micro_batch=2"))
    assert whole.keys() == pieces.keys()
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-4, atol=1e-6)
    without = gradients(recipe(changes[0]))
    assert not torch.allclose(without["image.projection.weight"], whole["image.projection.weight"])


def test_texts_and_what_the_loss_does_not_reach_get_no_gradient(recipe: Callable[..., Recipe]):
    found = gradients(recipe())
    assert not any(name.startswith("text.") for name in found)
    assert "image.projection.weight" not in found
    assert "image.norm_out.weight" not in found
    assert "log_scale" not in found
    assert {"image.patches.weight", "dense.head.weight", "dense.block.kernel.weight"} <= found.keys()
    assert "dense.log_scale" not in found
    assert "dense.log_scale" in gradients(recipe("model.dense.learn_scale=true"))
    assert "image.projection.weight" in gradients(recipe("model.dense.patches=0.5"))
    locked = gradients(recipe("model.image.train=none"))
    assert not any(name.startswith("image.") for name in locked)


def test_label_vectors_are_what_a_fresh_encoding_gives(start: Path):
    model = sightword.load(start)
    kept = LabelVectors(model.model, model.tokenizer, ("{}", "an image of {}"), model.device)
    first = kept(NAMES)
    assert torch.equal(kept(NAMES[::-1]), first.flip(0))  # kept
    assert torch.equal(LabelVectors(model.model, model.tokenizer, kept.sentences, model.device)(NAMES[3:]), first[3:])
    head = model.classifier(NAMES, ("{}", "an image of {}"))
    np.testing.assert_allclose(first.numpy(), head.weights, atol=1e-5)
    assert not first.requires_grad


def test_other_labels_and_other_numbers_of_them_from_batch_to_batch(recipe: Callable[..., Recipe]):
    setup = set_up(recipe(), SCENES, torch.device("cpu"))
    batch = next(setup.loader.batches(0))
    assert batch.truth is not None
    names = [name for name, _ in setup.model.named_parameters()]
    two = Truth(torch.zeros_like(batch.truth.masks), (("a red", "never heard of"),) * 4)
    losses = []
    for truth in (batch.truth, two):
        figures = setup.stepper.gradients(Batch(**{**_fields(batch), "truth": truth}), 1e-3)
        losses.append(figures["loss"])
    assert all(np.isfinite(losses))
    assert [name for name, _ in setup.model.named_parameters()] == names
    # In another order the labels of a picture have the same loss.
    turned = Truth(3 - batch.truth.masks, tuple(labels[::-1] for labels in batch.truth.labels))
    turned.masks[batch.truth.masks == VOID] = VOID
    figures = setup.stepper.gradients(Batch(**{**_fields(batch), "truth": turned}), 1e-3)
    assert figures["loss"] == pytest.approx(losses[0], rel=1e-5)


def _fields(batch: Batch) -> dict[str, object]:
    return {name: getattr(batch, name) for name in Batch.__dataclass_fields__}


def test_pictures_and_masks_that_do_not_belong_together_are_left_out(recipe: Callable[..., Recipe], tmp_path: Path):
    def beyond() -> NDArray[np.int16]:
        return np.full((32, 32), 7, np.int16)

    def smaller() -> NDArray[np.int16]:
        return np.zeros((16, 32), np.int16)

    def unreadable() -> object:
        raise sightword.errors.ImageError("scene", "is gone")

    bad = [
        Pair(SCENES[0].image, SCENES[0].texts, "beyond", mask=beyond),
        Pair(SCENES[0].image, SCENES[0].texts, "smaller", mask=smaller),
        Pair(Made("gone", unreadable), SCENES[0].texts, "gone", mask=beyond),  # type: ignore[arg-type]
    ]
    train(recipe("training.steps=8"), tmp_path / "run", PairList([*SCENES.pairs[:5], *bad]))
    reasons = {e["key"]: e["reason"] for e in read_log(tmp_path / "run" / "log.jsonl") if e["event"] == "skipped"}
    assert reasons["beyond"].startswith("the mask holds the label 7, and the picture's 4 labels are numbered from 0")
    assert reasons["smaller"] == "the mask has 32x16 pixels, and the picture 32x32"
    assert reasons["gone"] == "is gone"
    with pytest.raises(SightwordError, match="none of the training pictures can be read"):
        train(recipe(), tmp_path / "none", PairList(bad))
    uneven = Pair(SCENES[0].image, ("other",), "uneven", mask=lambda: np.zeros((32, 32), np.int16))
    with pytest.raises(RequestError, match=r"has [14] labels to choose from"):
        train(recipe(), tmp_path / "uneven", PairList([SCENES[1], SCENES[2], SCENES[3], uneven]))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (("data.source=emoji",), "`model.dense` is trained on masks"),
        (("training.drop_patches=0.5",), "`training.drop_patches` does not go with `model.dense`"),
        (("augment.erase=0.1",), "`augment.erase` does not go with `model.dense`"),
        (("training.loss=infonce",), "`training.loss` does not go with `model.dense`"),
        (("training.patch_loss=0.5",), "set model.dense.patches"),
        (("model.text.train=all",), "with model.dense, no text trains"),
        (("model.dense.depht=1",), "unknown key 'model.dense.depht'; did you mean 'depth'"),
    ],
)
def test_recipes_that_make_no_sense(recipe: Callable[..., Recipe], changes: tuple[str, ...], told: str):
    with pytest.raises(RequestError, match=told):
        recipe(*changes)


def other_start(start: Path, image: BackboneConfig | ResNetConfig, out: Path) -> Path:
    """The start with another image tower, not trained."""
    model = sightword.load(start)
    architecture = preset("ViT-test").model_copy(
        update={"embed_dim": 32, "image": image, "text": model.contract.architecture.text}
    )
    contract = model.contract.model_copy(
        update={"architecture": architecture, "image": model.contract.image.model_copy(update={"size": 32})}
    )
    torch.manual_seed(0)
    save_checkpoint(out, DualEncoder(architecture), contract, model.tokenizer)
    return out


def test_towers_of_convolutions_learn_as_well(recipe: Callable[..., Recipe], start: Path, tmp_path: Path):
    tower = BackboneConfig(name="efficientnet-lite0", image_size=32)
    asked = (f"model.start={other_start(start, tower, tmp_path / 'lite')}", "model.image.train=2")
    found = gradients(recipe(*asked))
    # The last two stages are the last block, which reaches pixels, and the head, which does only through patches.
    assert {name.split(".")[3] for name in found if name.startswith("image.backbone.blocks.")} == {"15"}
    assert not any(name.startswith(("image.backbone.head", "image.projection")) for name in found)
    assert "image.backbone.head.conv.weight" in gradients(recipe(*asked, "model.dense.patches=0.5"))
    model = sightword.load(train(recipe(*asked, "model.dense.patches=0.5"), tmp_path / "run", SCENES).model)
    assert model.segmenter(["a red", "other"]).predict(drawn("red", "disc", 0)).mask.shape == (32, 32)


def test_backbones_without_levels(recipe: Callable[..., Recipe], start: Path, tmp_path: Path):
    register_backbone("no levels", lambda: Flat())
    folder = other_start(start, BackboneConfig(name="no levels", image_size=32), tmp_path / "flat")
    with pytest.raises(RequestError, match="flat: a dense part needs the patch tokens of a Vision Transformer"):
        build(recipe(f"model.start={folder}"), [])


def test_a_dense_part_of_the_start_is_left_out(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe("training.steps=1"), tmp_path / "run", SCENES)
    again = build(recipe(f"model.start={tmp_path / 'run' / 'model'}", "model.dense.features=8"), [])
    assert again.model.dense is not None
    assert again.model.dense.head.in_channels == 8
    (tmp_path / "tune.toml").write_text(
        f'title = "t"\n[data]\nsource = "pairs"\npath = "unused"\n[model]\nstart = "{tmp_path / "run" / "model"}"\n'
        "[training]\nsteps = 1\nbatch_size = 8\nlr = 1e-4\n"
    )
    train(read_recipe(tmp_path / "tune.toml"), tmp_path / "tuned", pairs)
    tuned = sightword.load(tmp_path / "tuned" / "model")
    assert tuned.model.dense is None
    assert tuned.contract.architecture.dense is None


def test_a_run_goes_back_towards_the_towers_of_its_start(recipe: Callable[..., Recipe], start: Path, tmp_path: Path):
    tower = "model.image.train=all"
    train(recipe(tower), tmp_path / "whole", SCENES)
    judged: list[dict[str, torch.Tensor]] = []

    def validate(embedder: Embedder) -> dict[str, float]:
        judged.append(embedder.model.state_dict())
        return {"value": 0.5}

    train(recipe(tower, "training.wise=[0.8]", "data.validation=0.1"), tmp_path / "run", SCENES, validate=validate)
    begun, tuned, found = (weights(folder) for folder in (start.parent, tmp_path / "whole", tmp_path / "run"))
    assert equal(found, judged[-1])
    moved = {name for name, weight in begun.items() if not torch.equal(weight, tuned[name])}
    assert any(name.startswith("image.") for name in moved)
    assert all(torch.equal(found[name], torch.lerp(weight, tuned[name], 0.8)) for name, weight in begun.items())
    # The decoder has no start to go back to.
    assert all(torch.equal(found[name], tuned[name]) for name in tuned.keys() - begun.keys())


def test_batch_statistics_are_refused_where_a_batch_is_cut(recipe: Callable[..., Recipe]):
    with pytest.raises(RequestError, match="the dense part has BatchNorm layers"):
        set_up(recipe("model.dense.norm=batch", "training.micro_batch=2"), SCENES, torch.device("cpu"))


def test_a_refused_step_is_computed_again(recipe: Callable[..., Recipe], tmp_path: Path):
    resolved = recipe("training.spike=1e-9", "training.steps=40")
    with pytest.raises(SightwordError, match="The step was not taken"):
        train(resolved, tmp_path / "run", SCENES)
    (file,) = (tmp_path / "run").glob("bad-step-*.pt")
    found = replay(file, resolved, SCENES, "cpu")
    logged = next(e for e in read_log(tmp_path / "run" / "log.jsonl") if e["event"] == "bad_step")
    assert list(found.keys) == logged["keys"]
    assert found.gradient > 0


def test_a_rank_without_pictures_takes_part(recipe: Callable[..., Recipe]):
    setup = set_up(recipe(), SCENES, torch.device("cpu"))
    batch = next(setup.loader.batches(0))
    empty = Batch(**{**_fields(batch.rows(slice(0, 0))), "truth": None})
    terms = setup.stepper.encoders(empty)
    assert len(terms.image) == 0
    stepper = setup.stepper
    assert isinstance(stepper, DenseStepper)
    assert stepper.world is ALONE
    stepper.loss(terms, empty).backward()
    assert all(not p.grad.any() for p in stepper.parameters if p.grad is not None)
