"""Steps that would spoil the weights are refused, named, and can be computed again."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from sightword.data.pairs import PairList
from sightword.errors import RequestError, SightwordError
from sightword.evaluation.experiment import replay_step
from sightword.training import guard as guard_module
from sightword.training.guard import Guard, replay
from sightword.training.log import RunLog, read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.setup import set_up
from sightword.training.snapshots import read
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights

CPU = torch.device("cpu")


@pytest.fixture
def recipe(tmp_path: Path, pairs: PairList) -> Callable[..., Recipe]:
    folder = Path(str(pairs.pairs[0].image)).parent
    (tmp_path / "recipe.toml").write_text(PAGE.replace("unused here", str(folder)))
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", ("data.workers=0", *changes))


def test_a_step_that_is_not_finite(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    # The first step throws the weights so far that the second one overflows.
    resolved = recipe("training.steps=6", "training.lr=1e25", "training.warmup=0")
    message = r"step 2: the loss is nan .*Not finite are the gradients of log_scale, image\."
    with pytest.raises(SightwordError, match=message) as said:
        train(resolved, tmp_path / "run", pairs)
    (event,) = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "bad_step"]
    assert event["step"] == 2
    assert len(event["keys"]) == 16
    assert "image.patches.weight" in event["parameters"]
    record = read(tmp_path / "run" / event["file"])
    assert record["images"].shape == (16, 3, 16, 16)
    assert all(torch.isfinite(tensor).all() for tensor in record["weights"].values())
    # The message says how to look at it.
    call = re.search(r'print\((replay_step\(.*?\))\)"', str(said.value))
    assert call
    again = eval(call[1], {"replay_step": replay_step})
    assert again.step == 2
    assert math.isnan(again.loss)
    assert list(again.keys) == event["keys"]
    assert {name for name, norm in again.gradients.items() if not math.isfinite(norm)} == set(event["parameters"])


@pytest.fixture
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge from the third step on."""
    monkeypatch.setattr(guard_module, "_FIRST", 2)


@pytest.mark.usefixtures("early")
def test_a_spike_is_computed_again_to_the_bit(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    resolved = recipe("training.steps=40", "training.spike=1.02", "training.ema=0.9")
    with pytest.raises(SightwordError, match=r"norm of the gradient is .* more than 1\.02 times .*was not taken"):
        train(resolved, tmp_path / "run", pairs)
    (file,) = (tmp_path / "run").glob("bad-step-*.pt")
    record = read(file)
    again = replay(file, resolved, pairs, "cpu")
    assert (again.loss, again.gradient) == (record["figures"]["loss"], record["figures"]["gradient"])
    assert again.gradient == pytest.approx(math.hypot(*again.gradients.values()), rel=1e-5)
    torch.save({"step": 1}, tmp_path / "run" / "other.pt")
    with pytest.raises(RequestError, match="holds no step that was refused"):
        replay(tmp_path / "run" / "other.pt", resolved, pairs)


@pytest.mark.usefixtures("early")
def test_spikes_are_left_out_and_named_also_after_an_interruption(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    skip = ("training.steps=24", "training.every=8", "training.ema=0.9", "training.spike=1.1", "training.on_spike=skip")
    train(recipe(*skip), tmp_path / "whole", pairs)
    left_out = [event for event in read_log(tmp_path / "whole" / "log.jsonl") if event["event"] == "left_out"]
    assert left_out
    assert all(len(event["keys"]) == 16 for event in left_out)
    with pytest.raises(StopError):
        train(recipe(*skip), tmp_path / "cut", pairs, validate=interrupt_after(1))
    train(recipe(*skip), tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))
    again = [event for event in read_log(tmp_path / "cut" / "log.jsonl") if event["event"] == "left_out"]
    assert again == left_out
    train(recipe(*skip[:3]), tmp_path / "other", pairs)
    assert not equal(weights(tmp_path / "whole"), weights(tmp_path / "other"))


def test_leaving_out_has_an_end(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    spoiled = ("training.steps=40", "training.lr=1e25", "training.warmup=0", "training.on_spike=skip")
    with pytest.raises(SightwordError, match="step 12: the loss is nan"):
        train(recipe(*spoiled), tmp_path / "run", pairs)
    events = [event["event"] for event in read_log(tmp_path / "run" / "log.jsonl")]
    assert events.count("left_out") == 10


def test_a_batch_that_is_left_out_leaves_no_running_statistics(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    page = PAGE.replace('kind = "vit"\nimage_size = 16\npatch = 8\nwidth = 32\nlayers = 1\nheads = 2', "RESNET")
    page = page.replace("RESNET", 'kind = "resnet"\nimage_size = 32\nblocks = [1, 1, 1, 1]\nwidth = 8\nheads = 2')
    (tmp_path / "resnet.toml").write_text(page)
    resolved = read_recipe(tmp_path / "resnet.toml", ("training.on_spike=skip",))
    setup = set_up(resolved, pairs, CPU)
    guard = Guard(resolved.training, setup, tmp_path, RunLog(tmp_path / "log.jsonl", 0))
    before = [buffer.clone() for buffer in setup.model.buffers()]
    batches = setup.loader.batches()
    batch = next(batches)
    batches.close()
    guard.before()
    setup.stepper.gradients(batch, 1.0)
    moved = [not torch.equal(one, other) for one, other in zip(before, setup.model.buffers(), strict=True)]
    assert any(moved)
    assert not guard.allows(1, batch, {"loss": math.inf, "gradient": 1.0})
    assert all(torch.equal(one, other) for one, other in zip(before, setup.model.buffers(), strict=True))
