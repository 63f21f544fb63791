"""Ranks that share the model (FSDP) make the run of one, and their snapshots are each other's. With gloo."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from sightword.data.pairs import PairList
from sightword.errors import SightwordError
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import PAGE, weights
from tests.training.test_ranks import free_port, same

FSDP = "training.parallel=fsdp"
FEW = (
    "training.steps=6",
    "training.every=3",
    "training.lr=1e-3",
    "training.ema=0.9",
    "data.workers=0",
    "training.snapshot_every=1",
    "model.image.layers=2",
)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", [*FEW, *changes])


def ranks(count: int, work: Callable[[int], object]) -> list[int]:
    """Do `work(rank)` in `count` copies of this process, as torchrun would start them; gives their exit codes, or minus
    the signals that ended them."""
    world = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                signal.alarm(120)
                os.environ.update(world, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(count))
                work(rank)
                code = 0
            except SightwordError as failure:
                print(failure, file=sys.stderr)
                code = failure.exit_code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def shared(count: int, recipe: Recipe, out: Path, pairs: PairList) -> None:
    def work(_: int) -> None:
        train(recipe, out, pairs, lambda embedder: {"value": 0.5}, "cpu")

    assert ranks(count, work) == [0] * count


def losses(out: Path) -> list[float]:
    return [event["loss"] for event in read_log(out / "log.jsonl") if event["event"] == "step"]


@pytest.mark.parametrize(
    ("count", "changes"),
    [
        (2, ["training.loss=sigmoid", "training.batch_size=15"]),
        (2, ["training.optimizer=muon", "training.micro_batch=3", "training.checkpoint_blocks=true"]),
    ],
)
def test_shards_make_the_run_of_one(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, count: int, changes: list[str]
):
    train(recipe(*changes), tmp_path / "one", pairs, lambda _: {"value": 0.5})
    shared(count, recipe(FSDP, *changes), tmp_path / "many", pairs)
    same(weights(tmp_path / "many"), weights(tmp_path / "one"))
    one, many = (
        [event for event in read_log(tmp_path / name / "log.jsonl") if event["event"] == "step"]
        for name in ("one", "many")
    )
    for figure, near in (("loss", 1e-5), ("gradient", 1e-4), ("parameters", 1e-5), ("update", 1e-3)):
        assert [event[figure] for event in many] == pytest.approx([event[figure] for event in one], rel=near)
    assert sorted(path.name for path in (tmp_path / "many" / "snapshots").iterdir()) == [
        "best.pt",
        "step-00000005",
        "step-00000006",
    ]
