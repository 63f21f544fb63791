"""Runs that end early: killed anywhere, asked to end, on a full disk, or taken up with another recipe."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.kills import kill, outcome, same
from sightword.cli import run as command
from sightword.data.pairs import PairList
from sightword.errors import CheckpointError, RequestError, SightwordWarning, StoppedError
from sightword.training import snapshots as snapshots_module
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import MAY_CHANGE, Recipe, read_recipe
from sightword.training.snapshots import Snapshots
from tests.training.test_loop import PAGE, StopError, equal, interrupt_after, weights

NEGATION = Path(__file__).parents[2] / "recipes" / "negation.toml"

FEW = ("training.steps=6", "training.every=2", "training.ema=0.9", "data.workers=0")


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", changes)


def events(out: Path, kind: str) -> list[dict[str, object]]:
    return [event for event in read_log(out / "log.jsonl") if event["event"] == kind]


def in_a_process(work: Callable[[], object]) -> int:
    """Do `work` in a copy of this process; gives its exit code, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_killed_at_random_moments(tmp_path: Path):
    assert kill(kills=2, seed=1, steps=30, folder=tmp_path) == 0


def test_killed_wherever_something_is_put_on_the_disk(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Each file and folder appears by being put on the disk, renamed, and its folder put on the disk: the run is killed
    at the first, second, … of these calls, and goes on with other workers."""
    resolved = recipe(*FEW)
    train(resolved, tmp_path / "whole", pairs)
    expected = outcome(tmp_path / "whole")
    real, fatal, calls, parent = os.fsync, 0, 0, os.getpid()

    def fsync(handle: int) -> None:
        nonlocal calls
        if os.getpid() != parent:
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    code = -signal.SIGKILL
    while code:
        fatal += 1
        out = tmp_path / f"killed-{fatal}"
        code = in_a_process(lambda out=out: train(resolved, out, pairs))
        assert code in (0, -signal.SIGKILL)
        assert code == 0 or not (out / "model").exists() or fatal > 10
        train(recipe(*FEW, f"data.workers={fatal % 3}"), out, pairs)
        assert same(outcome(out), expected), fatal
        remains = {path.name for path in out.rglob(".*")}
        assert remains == {".lock"}, fatal
    assert fatal > 12  # recipe, three snapshots, the model's files


def test_a_log_line_that_was_cut_short_comes_again_whole(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    resolved = recipe("training.steps=30", "training.every=10", "training.ema=0.9")
    train(resolved, tmp_path / "whole", pairs, validate=lambda _: {"metric": "top1", "value": 0.5})
    with pytest.raises(StopError):
        train(resolved, tmp_path / "cut", pairs, validate=interrupt_after(1))
    with (tmp_path / "cut" / "log.jsonl").open("a") as log:
        log.write('{"event": "step", "step": 20, "lo')
    train(resolved, tmp_path / "cut", pairs, validate=lambda _: {"metric": "top1", "value": 0.5})
    assert [event["step"] for event in events(tmp_path / "cut", "step")] == [10, 20, 30]
    assert [event["step"] for event in events(tmp_path / "cut", "validation")] == [10, 20, 30]
    starts = events(tmp_path / "cut", "start")
    assert [event["step"] for event in starts] == [0, 10]
    assert starts[0]["run"] == starts[1]["run"]


def test_the_newest_snapshot_that_can_be_read(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    resolved = recipe("training.steps=9", "training.every=100", "training.snapshot_every=2", "training.snapshots=3")
    train(resolved, tmp_path / "whole", pairs)
    folder = tmp_path / "whole" / "snapshots"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["step-00000006.pt", "step-00000008.pt", "step-00000009.pt"]
    # As if it had ended there: the newest one is cut short, the one before is something else.
    (tmp_path / "whole" / "model").rename(tmp_path / "model")
    (folder / names[2]).write_bytes((folder / names[2]).read_bytes()[:2000])
    (folder / names[1]).write_bytes(b"")
    with pytest.warns(SightwordWarning, match="goes on from step 6"):
        train(resolved, tmp_path / "whole", pairs)
    (tmp_path / "run").mkdir()
    (tmp_path / "model").rename(tmp_path / "run" / "model")
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    named = [event["file"] for event in events(tmp_path / "whole", "unreadable")]
    assert named == ["step-00000009.pt.unreadable", "step-00000008.pt.unreadable"]
    assert all((folder / str(name)).exists() for name in named)


def test_no_readable_snapshot_is_an_error_and_changes_nothing(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    with pytest.raises(StopError):
        train(recipe(*FEW), tmp_path / "run", pairs, validate=interrupt_after(1))
    only = tmp_path / "run" / "snapshots" / "step-00000002.pt"
    only.write_bytes(b"PK")
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"step-00000002\.pt: not a readable snapshot.*no other one is left"):
        train(recipe(*FEW), tmp_path / "run", pairs)
    assert only.read_bytes() == b"PK"
    assert (tmp_path / "run" / "log.jsonl").read_bytes() == log


def test_snapshots_by_the_clock_whatever_the_time_of_day_does(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    jumps = iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: (-1) ** next(jumps) * 1e9)
    few = ("training.steps=4", "training.every=100", "training.snapshots=9")
    train(recipe(*few, "training.snapshot_minutes=1e-9"), tmp_path / "often", pairs)
    train(recipe(*few, "training.snapshot_minutes=1e9"), tmp_path / "seldom", pairs)
    assert len(list((tmp_path / "often" / "snapshots").iterdir())) == 4
    assert len(list((tmp_path / "seldom" / "snapshots").iterdir())) == 1
    minutes = events(tmp_path / "often", "end")[0]["minutes"]
    assert isinstance(minutes, float)
    assert 0 < minutes < 10


def test_asked_to_end_it_saves_and_the_same_command_goes_on(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    resolved = recipe("training.steps=9", "training.every=3")
    looks = iter(range(9))

    def validate(_: object) -> dict[str, object]:
        if next(looks) == 1:
            signal.raise_signal(signal.SIGTERM)
        return {"metric": "top1", "value": 0.5}

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StoppedError, match="after step 6 of 9; the snapshot of step 6 is there"):
        train(resolved, tmp_path / "run", pairs, validate=validate)
    assert signal.getsignal(signal.SIGTERM) == before
    train(resolved, tmp_path / "run", pairs, validate=validate)
    train(resolved, tmp_path / "whole", pairs)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_the_exit_code_of_an_end_that_was_asked_for_is_75(pairs: PairList, tmp_path: Path):
    folder = Path(str(pairs.pairs[0].image)).parent
    (tmp_path / "recipe.toml").write_text(PAGE.replace("unused here", str(folder)))
    arguments = ["train", str(tmp_path / "recipe.toml"), "--out", str(tmp_path / "run"), "--device", "cpu", "--set"]
    child = os.fork()
    if child == 0:
        os._exit(command([*arguments, "training.steps=100000", "training.snapshot_every=2"]))
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "run").glob("snapshots/step-*.pt")) and time.monotonic() < deadline:
            time.sleep(0.02)
        with pytest.raises(RequestError, match=rf"another run is writing there \(process {child} on"):
            train(read_recipe(tmp_path / "run" / "recipe.toml"), tmp_path / "run", pairs)
    finally:
        os.kill(child, signal.SIGTERM)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 75
    state, _ = Snapshots(tmp_path / "run" / "snapshots", 2).newest()
    assert state is not None
    assert state["step"] >= 2


@pytest.mark.parametrize("then", ["continue", "stop"])
def test_a_full_disk(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, then: str):
    """No file may grow beyond a limit, which the system reports as it does a disk or a quota that is full."""
    resolved = recipe(*FEW, f"training.on_full_disk={then}", "training.snapshots=1")
    train(resolved, tmp_path / "whole", pairs)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    looks = iter(range(9))
    newest: list[int] = []

    def validate(_: object) -> dict[str, object]:
        look = next(looks)
        newest.append(look)
        full = look == 1 or (look == 2 and then == "stop")
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000 if full else soft, hard))
        return {"metric": "top1", "value": 0.5}

    try:
        if then == "stop":
            with pytest.raises(Exception, match="the disk is full: make room"):
                train(resolved, tmp_path / "run", pairs, validate=validate)
        else:
            with pytest.warns(SightwordWarning, match="step 4: no snapshot.*the snapshot of step 2 stays"):
                train(resolved, tmp_path / "run", pairs, validate=validate)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    told = events(tmp_path / "run", "full_disk")
    assert [(event["step"], event["what"], event["newest"]) for event in told] == [(4, "snapshot", 2)]
    if then == "stop":
        assert [path.name for path in (tmp_path / "run").glob("snapshots/step-*")] == ["step-00000002.pt"]
        train(resolved, tmp_path / "run", pairs)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))


def test_the_log_waits_for_room(tmp_path: Path):
    from sightword.training.log import RunLog

    log = RunLog(tmp_path / "log.jsonl", resume_at=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60, hard))
        for step in range(5):
            log.write("step", step=step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(list(read_log(tmp_path / "log.jsonl"))) < 3
    log.write("step", step=5)
    log.close()
    assert [event["step"] for event in read_log(tmp_path / "log.jsonl")] == [0, 1, 2, 3, 4, 5]


def test_what_changes_neither_order_nor_model_may_change(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path
):
    with pytest.raises(StopError):
        train(recipe(*FEW), tmp_path / "run", pairs, validate=interrupt_after(1))
    with pytest.raises(RequestError, match=r"data\.first_text \(1\.0, now 0\.5\).*order of the samples or the model"):
        train(recipe(*FEW, "data.first_text=0.5"), tmp_path / "run", pairs)
    # Nothing was changed by the refusal.
    train(recipe(*FEW, "training.every=3", "data.workers=1", "title=other"), tmp_path / "run", pairs)
    train(recipe(*FEW), tmp_path / "whole", pairs)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    assert events(tmp_path / "run", "start")[1]["changed"] == {
        "data.workers": {"was": 0, "now": 1},
        "title": {"was": "colours and shapes", "now": "other"},
        "training.every": {"was": 2, "now": 3},
    }
    assert read_recipe(tmp_path / "run" / "recipe.toml").training.every == 3


def test_what_may_change_are_keys_of_recipes(recipe: Callable[..., Recipe]):
    begun, started = recipe("training.teacher.name=any"), read_recipe(NEGATION)
    for key in MAY_CHANGE:
        values = (started if key.startswith("model.") else begun).model_dump()
        for part in key.split("."):
            values = values[part]


def test_other_data_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(StopError):
        train(recipe(*FEW), tmp_path / "run", pairs, validate=interrupt_after(1))
    with pytest.raises(RequestError, match="begun with 64 pairs, and now there are 63"):
        train(recipe(*FEW), tmp_path / "run", PairList(pairs.pairs[1:]))


def test_a_snapshot_holds_the_random_state(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    """Validation draws random numbers, and steps do not yet: so it is looked for in the file."""
    train(recipe(*FEW), tmp_path / "one", pairs)
    train(recipe(*FEW, "training.every=6"), tmp_path / "two", pairs, validate=lambda _: {"value": 0.5})
    one, two = (
        snapshots_module.read(tmp_path / name / "snapshots" / "step-00000006.pt")["random"] for name in ("one", "two")
    )
    assert all((a == b).all() for a, b in zip(one, two, strict=True))
