"""training.compile: all is compiled before the first step, nothing during the steps, and a run is what it was."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from sightword.data.pairs import PairList
from sightword.towers.compiled import Compiled
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.towers.test_compiled import Counting
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights

FEW = ("training.steps=8", "training.every=4", "training.ema=0.9", "data.workers=0", "model.text.layers=2")
RESNET = """
kind = "resnet"
image_size = 32
blocks = [1, 1, 1, 1]
width = 8
heads = 4
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    def read(*changes: str, resnet: bool = False) -> Recipe:
        vit = PAGE[PAGE.index('kind = "vit"') : PAGE.index("[model.text]")]
        (tmp_path / "recipe.toml").write_text(PAGE.replace(vit, RESNET) if resnet else PAGE)
        return read_recipe(tmp_path / "recipe.toml", (*FEW, *changes))

    return read


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counting:
    """Learning compiles with it; `asked` says how often there was learning."""
    count, real = Counting(), Compiled.learn
    torch._dynamo.reset()

    def learn(self: Compiled, asked: str) -> object:
        stack = ExitStack()
        stack.enter_context(torch.compiler.set_stance(force_backend=count))
        stack.enter_context(real(self, asked))
        return stack

    monkeypatch.setattr(Compiled, "learn", learn)
    return count


def losses(out: Path) -> list[float]:
    return [float(event["loss"]) for event in read_log(out / "log.jsonl") if event["event"] == "step"]


@pytest.mark.parametrize(
    ("resnet", "changes"),
    [
        (False, ("training.micro_batch=6", "training.drop_patches=0.5", "training.whole=0.25")),
        (True, ()),
    ],
    ids=["pieces, patches dropped", "resnet"],
)
def test_a_compiled_run_is_that_of_before(
    recipe: Callable[..., Recipe],
    pairs: PairList,
    tmp_path: Path,
    count: Counting,
    resnet: bool,
    changes: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("sightword.training.loop.LOG_EVERY", 1)
    train(recipe(*changes, resnet=resnet), tmp_path / "written", pairs)
    assert not count.compiled
    compiled = recipe(*changes, "training.compile=true", resnet=resnet)
    train(compiled, tmp_path / "compiled", pairs)
    learned, before = count.compiled, losses(tmp_path / "written")
    assert learned
    assert losses(tmp_path / "compiled") == pytest.approx(before, abs=1e-5)
    assert weights(tmp_path / "compiled").keys() == weights(tmp_path / "written").keys()
    with pytest.raises(StopError):
        train(compiled, tmp_path / "cut", pairs, validate=interrupt_after(1))
    train(compiled, tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "cut"), weights(tmp_path / "compiled"))
    assert count.compiled == learned  # the kinds of inputs are those of the first run, in which no step added one


def test_a_run_may_go_on_otherwise(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, count: Counting):
    with pytest.raises(StopError):
        train(recipe("training.compile=true"), tmp_path / "run", pairs, validate=interrupt_after(1))
    train(recipe(), tmp_path / "run", pairs)
    assert weights(tmp_path / "run")
