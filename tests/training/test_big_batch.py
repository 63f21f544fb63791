"""A batch in pieces gives the gradients of the whole."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sightword.data.pairs import Batch, PairList, Tokens
from sightword.errors import RequestError
from sightword.objectives import InfoNCE, Sigmoid
from sightword.towers.configs import DualEncoderConfig, TextConfig, ViTConfig
from sightword.towers.dual import DualEncoder
from sightword.training.big_batch import backward_in_pieces, split
from sightword.training.encoders import Encoders, Terms
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.ranks import World
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.setup import set_up
from tests.training.test_loop import PAGE, equal, weights

CONFIG = DualEncoderConfig(
    embed_dim=12,
    image=ViTConfig(image_size=8, patch=4, width=16, layers=2, heads=2),
    text=TextConfig(vocabulary=50, context=8, width=16, layers=1, heads=2),
)


class Exact:
    """Pixels in float64."""

    def normalise(self, images: Tensor) -> Tensor:
        return images.double() / 255


def make_encoders(bias: bool = False, dropout: float = 0.0) -> Encoders:
    torch.manual_seed(0)
    model = DualEncoder(CONFIG.model_copy(update={"bias": bias})).double().train()
    if dropout:  # two random layers in each tower: then one forward of all draws otherwise than one of each piece
        for tower in (model.image, model.text):
            for block in tower.blocks:
                block.mlp.fc2 = nn.Sequential(block.mlp.fc2, nn.Dropout(dropout))
                block.attention.out = nn.Sequential(block.attention.out, nn.Dropout(dropout))
    return Encoders(model, Exact(), bf16=False)  # type: ignore[arg-type]


def make_batch(rows: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (rows, 3, 8, 8), generator=generator, dtype=torch.uint8)
    ids = torch.randint(1, 50, (rows, 8), generator=generator)
    lengths = torch.randint(2, 9, (rows,), generator=generator)
    labels = torch.randint(0, 2 * rows, (rows, 2), generator=generator)
    keys = tuple(map(str, range(rows)))
    return Batch(images, Tokens(ids, lengths), labels, keys, draws=torch.arange(rows))


def loss_of(kind: str, labels: Tensor) -> Callable[[Terms], Tensor]:
    if kind == "sigmoid":
        return lambda terms: Sigmoid()(terms.image, terms.text, terms.scale, terms.bias, labels)  # type: ignore[arg-type]
    return lambda terms: InfoNCE(0.1)(terms.image, terms.text, terms.scale, labels)


def gradients(encoders: Encoders) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in encoders.named_parameters() if p.grad is not None}
    encoders.zero_grad()
    return found


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-9) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert (found[name] - expected[name]).norm() <= rtol * expected[name].norm() + 1e-15, name


@pytest.mark.parametrize("kind", ["infonce", "sigmoid"])
@pytest.mark.parametrize(("rows", "pieces"), [(12, 3), (11, 4), (5, 5), (3, 4)])
def test_gradients_are_those_of_the_whole_batch(kind: str, rows: int, pieces: int):
    encoders, batch = make_encoders(bias=kind == "sigmoid"), make_batch(rows)
    of = loss_of(kind, batch.labels)
    direct = of(encoders(batch))
    direct.backward()
    expected = gradients(encoders)
    assert set(expected) == {name for name, _ in encoders.named_parameters()}  # scale and bias among them
    loss = backward_in_pieces(encoders, encoders, split(batch, pieces), of)
    torch.testing.assert_close(loss, direct.detach(), rtol=1e-12, atol=0)
    assert_same(gradients(encoders), expected)


def test_a_batch_of_4096_in_pieces_of_64():
    encoders, batch = make_encoders(), make_batch(4096)
    of = loss_of("infonce", batch.labels)
    of(encoders(batch)).backward()
    expected = gradients(encoders)
    backward_in_pieces(encoders, encoders, split(batch, 64), of)
    assert_same(gradients(encoders), expected, rtol=1e-6)


def test_dropout_is_played_back():
    encoders, batch = make_encoders(dropout=0.3), make_batch(10)
    of, pieces = loss_of("infonce", batch.labels), split(batch, 3)
    torch.manual_seed(5)
    found = [encoders(piece) for piece in pieces]
    after = torch.get_rng_state()
    image, text = torch.cat([terms.image for terms in found]), torch.cat([terms.text for terms in found])
    of(found[0]._replace(image=image, text=text)).backward()
    expected = gradients(encoders)
    torch.manual_seed(5)
    backward_in_pieces(encoders, encoders, pieces, of)
    assert_same(gradients(encoders), expected)
    assert torch.equal(torch.get_rng_state(), after)  # what is drawn next is what a single pass would have left


def test_a_locked_tower_goes_through_once(monkeypatch: pytest.MonkeyPatch):
    encoders, batch = make_encoders(), make_batch(8)
    encoders.model.image.requires_grad_(False)
    of = loss_of("infonce", batch.labels)
    of(encoders(batch)).backward()
    expected = gradients(encoders)
    calls = []
    forward = encoders.model.image.forward
    monkeypatch.setattr(encoders.model.image, "forward", lambda x: (calls.append(1), forward(x))[1])
    backward_in_pieces(encoders, encoders, split(batch, 4), of)
    assert len(calls) == 4
    assert_same(gradients(encoders), expected)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", ["training.steps=12", "training.every=12", *changes])


def losses(folder: Path) -> Sequence[Any]:
    return [event["loss"] for event in read_log(folder / "log.jsonl") if event["event"] == "step"]


@pytest.mark.parametrize("loss", ["infonce", "sigmoid"])
def test_a_run_in_pieces_learns_the_same(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, loss: str):
    train(recipe(f"training.loss={loss}"), tmp_path / "whole", pairs)
    train(recipe(f"training.loss={loss}", "training.micro_batch=5"), tmp_path / "pieces", pairs)
    train(recipe(f"training.loss={loss}", "training.micro_batch=16"), tmp_path / "one piece", pairs)
    assert losses(tmp_path / "pieces") == pytest.approx(losses(tmp_path / "whole"), rel=1e-3)
    assert equal(weights(tmp_path / "one piece"), weights(tmp_path / "whole"))


def test_a_sigmoid_run_begins_as_published(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe("training.loss=sigmoid", "training.steps=1", "training.lr=1e-9"), tmp_path / "run", pairs)
    started = weights(tmp_path / "run")
    assert started["log_scale"].exp().item() == pytest.approx(10)
    assert started["logit_bias"].item() == pytest.approx(-10)


def test_batch_statistics_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    image = 'kind = "resnet"\nimage_size = 32\nblocks = [1, 1, 1, 1]\nwidth = 8\nheads = 2\n[model.text]'
    page = PAGE[: PAGE.index("[model.image]")] + "[model.image]\n" + image + PAGE.split("[model.text]")[1]
    (tmp_path / "resnet.toml").write_text(page)
    with pytest.raises(RequestError, match=r"micro_batch: the image tower has BatchNorm"):
        train(read_recipe(tmp_path / "resnet.toml", ["training.micro_batch=4"]), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RequestError, match="several ranks: the image tower has BatchNorm"):
        set_up(read_recipe(tmp_path / "resnet.toml"), pairs, torch.device("cpu"), world=World(size=2))
    train(read_recipe(tmp_path / "resnet.toml", ["training.steps=2"]), tmp_path / "run", pairs)


def test_smoothing_is_of_infonce(recipe: Callable[..., Recipe]):
    assert recipe("training.smoothing=0.1").training.smoothing == 0.1
    with pytest.raises(RequestError, match="smoothing"):
        recipe("training.smoothing=0.1", "training.loss=sigmoid")
