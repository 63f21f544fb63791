"""Ranks that share the model (FSDP) make the run of one, and their snapshots are each other's. With gloo."""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from sightword.data.pairs import Batch, PairList
from sightword.errors import RequestError, SightwordError, SightwordWarning
from sightword.training import loop, watch
from sightword.training import snapshots as snapshots_module
from sightword.training.budget import Budget, probe_batch, step_budget
from sightword.training.build import build
from sightword.training.guard import replay
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.ranks import World
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.snapshots import Snapshots
from sightword.training.step import Stepper
from tests.training import test_pretrained, test_start
from tests.training.test_loop import PAGE, equal, weights
from tests.training.test_ranks import free_port, same

folder = test_pretrained.folder  # a fixture

FSDP, ALL = "training.parallel=fsdp", "training.snapshot_every=1"
FEW = (
    "training.steps=6",
    "training.every=3",
    "training.lr=1e-3",
    "training.ema=0.9",
    "data.workers=0",
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
                signal.alarm(600)
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
    "changes",
    [
        ["training.loss=sigmoid", "training.batch_size=15"],
        ["training.optimizer=muon", "training.lr=1e-4", "training.micro_batch=3", "training.checkpoint_blocks=true"],
    ],
)
def test_shards_make_the_run_of_one(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, changes: list[str]):
    train(recipe(*changes), tmp_path / "one", pairs, lambda _: {"value": 0.5})
    shared(2, recipe(FSDP, *changes), tmp_path / "many", pairs)
    # Muon computes in bfloat16, in which a last bit is large.
    same(weights(tmp_path / "many"), weights(tmp_path / "one"), 5e-5 if "training.optimizer=muon" in changes else 1e-5)
    one, many = (
        [event for event in read_log(tmp_path / name / "log.jsonl") if event["event"] == "step"]
        for name in ("one", "many")
    )
    for figure, near in (("loss", 1e-5), ("gradient", 1e-4), ("parameters", 1e-5), ("update", 1e-3)):
        assert [event[figure] for event in many] == pytest.approx([event[figure] for event in one], rel=near)
    assert snapshots(tmp_path / "many") == ["best.pt", "step-00000003", "step-00000006"]


def killed(count: int, recipe: Recipe, out: Path, pairs: PairList, after: int) -> None:
    """All ranks at once, with so many steps taken."""

    def work(_: int) -> None:
        taken, gradients = 0, Stepper.gradients

        def counted(self: Stepper, batch: Batch, rate: float) -> dict[str, float]:
            nonlocal taken
            if taken == after:
                os.kill(os.getpid(), signal.SIGKILL)
            taken += 1
            return gradients(self, batch, rate)

        Stepper.gradients = counted  # type: ignore[method-assign]
        train(recipe, out, pairs, device="cpu")

    assert ranks(count, work) == [-signal.SIGKILL] * count


def snapshots(out: Path) -> list[str]:
    return sorted(path.name for path in (out / "snapshots").iterdir())


def test_a_kill_while_the_ranks_write_a_snapshot(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    """The first rank dies with its own part on the disk: what was there before stays, and the run ends to the bit as
    one that nobody disturbed."""
    resolved, out = recipe(FSDP, ALL, "training.optimizer=muon"), tmp_path / "killed"

    def work(rank: int) -> None:
        watch.SILENCE_IN_TROUBLE = 1.0
        write = snapshots_module.write

        def written(path: Path, state: Mapping[str, Any]) -> None:
            write(path, state)
            if rank == 0 and path.parent.name.startswith(".step-00000003."):
                os.kill(os.getpid(), signal.SIGKILL)

        snapshots_module.write = written
        train(resolved, out, pairs, device="cpu")

    assert ranks(2, work) == [-signal.SIGKILL, 1]
    names = snapshots(out)
    assert names[0].startswith(".step-00000003.")
    assert names[1:] == ["step-00000001", "step-00000002"]
    shared(2, resolved, out, pairs)
    assert snapshots(out) == ["best.pt", "step-00000005", "step-00000006"]
    shared(2, resolved, tmp_path / "whole", pairs)
    assert equal(weights(out), weights(tmp_path / "whole"))


def test_another_number_of_ranks_and_another_way_go_on(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe(), tmp_path / "whole", pairs)
    # Once with the newest snapshot damaged: it is set aside, and the one before is used.
    killed(2, recipe(FSDP, ALL), tmp_path / "one", pairs, after=4)
    shutil.copytree(tmp_path / "one", tmp_path / "three")
    (tmp_path / "one" / "snapshots" / "step-00000004" / "rank-1-of-2.pt").unlink()
    with pytest.warns(
        SightwordWarning, match="step-00000004.unreadable: not a readable snapshot .it has not the parts"
    ):
        train(recipe(), tmp_path / "one", pairs)
    shared(3, recipe(FSDP), tmp_path / "three", pairs)
    # And a run of one rank is gone on with by two that share.
    killed(1, recipe(ALL), tmp_path / "two", pairs, after=4)
    shared(2, recipe(FSDP), tmp_path / "two", pairs)
    for name, begun in (("one", 3), ("three", 4), ("two", 4)):
        starts = [event for event in read_log(tmp_path / name / "log.jsonl") if event["event"] == "start"]
        assert [event["step"] for event in starts] == [0, begun]
        assert losses(tmp_path / name) == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
        same(weights(tmp_path / name), weights(tmp_path / "whole"))
        assert starts[1]["changed"].keys() <= {"training.parallel", "training.snapshot_every"}


@pytest.mark.parametrize("kind", ["adapters", "locked encoders"])
def test_what_trains_in_part(pairs: PairList, tmp_path: Path, checkpoint: Path, folder: Path, kind: str):
    """LoRA with slower lower blocks beside a trained head; and a backbone that is locked but for its last stage, before
    a text encoder whose features are kept, with all names."""
    path = tmp_path / "recipe.toml"
    if kind == "adapters":
        path.write_text(test_start.PAGE.replace("START", str(checkpoint)))
        changes = ["model.lora.rank=2", "model.image.train=head", "training.layer_decay=0.7"]
    else:
        path.write_text(
            test_pretrained.PAGE.replace("IMAGE", str(folder / "image.safetensors")).replace("TEXT", str(folder))
        )
        changes = ["training.steps=4", "training.every=2", "training.lr=1e-3"]
    train(read_recipe(path, changes), tmp_path / "one", pairs)
    shared(2, read_recipe(path, [FSDP, *changes]), tmp_path / "two", pairs)
    same(weights(tmp_path / "two"), weights(tmp_path / "one"))


def test_a_step_that_is_not_finite_leaves_whole_weights(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    resolved = recipe(FSDP, "training.lr=1e25", "training.warmup=0")

    def work(_: int) -> None:
        with pytest.raises(SightwordError, match=r"step 2: .*Not finite are the gradients of log_scale, image\."):
            train(resolved, tmp_path / "run", pairs, device="cpu")

    assert ranks(2, work) == [0, 0]
    (file,) = (tmp_path / "run").glob("bad-step-*.pt")
    again = replay(file, resolved, pairs, "cpu")
    assert (again.step, len(again.keys)) == (2, 8)  # of the first rank
    assert math.isnan(again.loss)


def test_a_full_disk_at_one_rank(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    """No file of the second rank may grow beyond a limit while the second snapshot is written."""
    resolved = recipe(FSDP, ALL, "training.steps=3", "training.snapshots=9")

    def work(rank: int) -> None:
        save = Snapshots.save
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

        def saved(self: Snapshots, step: int, state: Mapping[str, Any], world: World) -> None:
            full = rank == 1 and step == 2
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000 if full else soft, hard))
            try:
                save(self, step, state, world)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        Snapshots.save = saved  # type: ignore[method-assign, assignment]
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with pytest.warns(SightwordWarning, match="step 2: no snapshot: .*disk is full.* snapshot of step 1 stays"):
            train(resolved, tmp_path / "run", pairs, device="cpu")

    assert ranks(2, work) == [0, 0]
    assert snapshots(tmp_path / "run") == ["step-00000001", "step-00000003"]


def test_a_folder_that_not_all_ranks_see(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    def work(rank: int) -> None:
        if rank == 1:
            loop.LOCK = "elsewhere"
        with pytest.raises(RequestError, match=r"not all ranks find it.* on a disk that all share"):
            train(recipe(FSDP), tmp_path / "run", pairs, device="cpu")

    assert ranks(2, work) == [0, 0]
    assert not (tmp_path / "run").exists()


def test_the_budget_knows_the_ranks(recipe: Callable[..., Recipe]):
    cpu, texts = torch.device("cpu"), ["a red disc"]

    def budget(*changes: str) -> Budget:
        asked = recipe("model.image.layers=8", "model.text.layers=8", *changes)
        built = build(asked, texts)
        stepper = Stepper(built.model, built.contract, asked, cpu, World(0, 2))
        return step_budget(stepper, probe_batch(built.contract.image, built.tokenizer, texts, cpu), asked.training, 0)

    whole, part = budget(), budget(FSDP)
    assert part.optimizer == pytest.approx(whole.optimizer / 2, rel=0.01)
    assert part.average == pytest.approx(whole.average / 2, rel=0.01)
    for term in ("weights", "gradients"):
        assert 0.5 < getattr(part, term) / getattr(whole, term) < 0.9  # half of them, and what is gathered at once
    tight = replace(whole, optimizer=10**9, free=10**8)
    with pytest.raises(RequestError, match=r"Most of it are the optimizer: .*training\.parallel = fsdp"):
        tight.check(recipe().training, 2)
    with pytest.raises(RequestError, match=r"Most of it are the optimizer: .*start more ranks"):
        tight.check(recipe(FSDP).training, 2)
