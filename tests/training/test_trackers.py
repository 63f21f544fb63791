"""What the log says goes to trackers as well, each step once, and what a run is leaves a model card."""

import json
import math
import mmap
import sys
import time
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import sightword
from sightword.data.pairs import PairList
from sightword.errors import RequestError, SightwordWarning
from sightword.evaluation.experiment import run_training
from sightword.training import trackers
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.measures import Movement, memory
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import PAGE, StopError, interrupt_after

FEW = ("training.steps=30", "training.every=10", "data.workers=0")
NUMBERS = {"loss", "scale", "lr", "gradient", "parameters", "update", "images_per_s", "waiting", "memory_mib"}


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", (*FEW, *changes))


def value(_: object) -> dict[str, object]:
    return {"metric": "top1", "value": 0.5}


def once() -> Callable[[object], dict[str, object]]:
    """A validation that ends the run when it is asked again."""
    interrupt = interrupt_after(1)
    return lambda embedder: {"metric": "top1", **interrupt(embedder)}


def steps(out: Path) -> list[dict[str, Any]]:
    return [event for event in read_log(out / "log.jsonl") if event["event"] == "step"]


def test_a_log_line_says_how_far_a_step_goes(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe("training.decay=0"), tmp_path / "run", pairs)
    for event in steps(tmp_path / "run"):
        assert set(event) == {"event", "step", *NUMBERS}
        assert event["memory_mib"] > 50
        assert event["gradient"] > 0
    first, *_, last = steps(tmp_path / "run")
    assert first["update"] > last["update"]  # the rate has come down by then
    weights = sightword.load(tmp_path / "run" / "model").model.state_dict().values()
    assert last["parameters"] == pytest.approx(math.hypot(*(float(tensor.norm()) for tensor in weights)), rel=1e-5)


def test_movement_is_exact():
    one, other = torch.tensor([3.0, 4.0]), torch.tensor(12.0)
    movement = Movement([one, other])
    one += torch.tensor([2.0, 0.0])
    other += 1.0
    assert movement.norms() == pytest.approx({"parameters": math.sqrt(25 + 16 + 169), "update": math.sqrt(5)})


def test_memory_is_of_this_process():
    # Mapped, as the heap may have a hole of that size, of tests that ran before.
    with mmap.mmap(-1, 64 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        before = memory(torch.device("cpu"))["memory_mib"]
        for page in range(0, len(held), mmap.PAGESIZE):
            held[page] = 1
        assert 55 < memory(torch.device("cpu"))["memory_mib"] - before < 75


class FakeTrackio(ModuleType):
    """trackio's documented interface: init, log and finish; its runs outlive a process."""

    def __init__(self) -> None:
        super().__init__("trackio")
        self.runs: dict[str, list[tuple[int, dict[str, float]]]] = {}
        self.configs: list[dict[str, Any]] = []
        self.fails_at = -1
        self.finished = 0

    def init(self, project: str, name: str, config: dict[str, Any], resume: str) -> None:
        assert (project, resume) == ("sightword", "allow")
        self.name = name
        self.runs.setdefault(name, [])
        self.configs.append(config)

    def log(self, metrics: dict[str, float], step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError("the server is gone\nand more")
        self.runs[self.name].append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> FakeTrackio:
    fake = FakeTrackio()
    monkeypatch.setitem(sys.modules, "trackio", fake)
    monkeypatch.setattr(trackers, "find_spec", lambda name: name == "trackio" or find_spec(name))
    return fake


def test_each_step_is_sent_once_also_by_a_run_that_goes_on(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, trackio: FakeTrackio
):
    resolved = recipe('training.trackers=["trackio"]')
    with pytest.raises(StopError):  # at step 20, which is logged; the snapshot is of step 10
        train(resolved, tmp_path / "run", pairs, validate=once())
    train(resolved, tmp_path / "run", pairs, validate=value)
    ((name, sent),) = trackio.runs.items()
    assert name.startswith("run-")
    assert trackio.finished == 2
    assert trackio.configs[0]["training"]["batch_size"] == 16
    losses = [(step, values["step/loss"]) for step, values in sent if "step/loss" in values]
    assert losses == [(event["step"], event["loss"]) for event in steps(tmp_path / "run")]
    assert [step for step, values in sent if "validation/top1" in values] == [10, 20, 30]
    assert {name for _, values in sent for name in values} == {*(f"step/{name}" for name in NUMBERS), "validation/top1"}


def test_a_tracker_that_fails_later_ends_no_run(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, trackio: FakeTrackio
):
    trackio.fails_at = 20
    with pytest.warns(SightwordWarning, match=r"trackio failed \(the server is gone\)"):
        train(recipe('training.trackers=["trackio"]'), tmp_path / "run", pairs)
    failed = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "tracker_failed"]
    assert failed == [{"event": "tracker_failed", "step": 20, "tracker": "trackio", "reason": "the server is gone"}]
    assert [step for step, _ in next(iter(trackio.runs.values()))] == [10]


def test_a_tracker_that_cannot_start_is_refused_at_first_and_left_out_later(
    recipe: Callable[..., Recipe],
    pairs: PairList,
    tmp_path: Path,
    trackio: FakeTrackio,
    monkeypatch: pytest.MonkeyPatch,
):
    resolved = recipe('training.trackers=["trackio"]')
    working = trackio.init

    def refuse(**_: object) -> None:
        raise ConnectionError("not logged in")

    monkeypatch.setattr(trackio, "init", refuse)
    with pytest.raises(RequestError, match=r"trackio could not be started \(not logged in\)"):
        train(resolved, tmp_path / "run", pairs)
    monkeypatch.setattr(trackio, "init", working)
    with pytest.raises(StopError):
        train(resolved, tmp_path / "run", pairs, validate=interrupt_after(1))
    monkeypatch.setattr(trackio, "init", refuse)
    with pytest.warns(SightwordWarning, match="trackio failed"):
        train(resolved, tmp_path / "run", pairs)
    assert (tmp_path / "run" / "model").is_dir()


def test_a_missing_package_is_named_with_its_extra(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    extras = tomllib.loads(Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in ("tensorboard", "wandb", "trackio"):
        with pytest.raises(RequestError, match=rf"pip install 'sightword\[{name}\]'"):
            train(recipe(f'training.trackers=["{name}"]'), tmp_path / "run", pairs)
        assert any(asked.startswith(name) for asked in extras[name])
    assert not (tmp_path / "run").exists()
    with pytest.raises(RequestError, match="trackers"):
        recipe('training.trackers=["mlflow"]')


@pytest.mark.skipif(find_spec("tensorboard") is None, reason="needs sightword[tensorboard]")
def test_tensorboard_reads_each_step_once(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    resolved = recipe('training.trackers=["tensorboard"]')
    with pytest.raises(StopError):
        train(resolved, tmp_path / "run", pairs, validate=once())
    train(resolved, tmp_path / "run", pairs, validate=value)
    found = EventAccumulator(str(tmp_path / "run" / "trackers" / "tensorboard")).Reload()
    assert set(found.Tags()["scalars"]) == {*(f"step/{name}" for name in NUMBERS), "validation/top1"}
    losses = [(scalar.step, scalar.value) for scalar in found.Scalars("step/loss")]
    assert losses == [(event["step"], pytest.approx(event["loss"])) for event in steps(tmp_path / "run")]
    assert [scalar.step for scalar in found.Scalars("validation/top1")] == [10, 20, 30]


def records_of(file: Path) -> bytes:
    """What a file of Weights & Biases holds, in LevelDB's log format: behind 7 bytes, blocks of 32 KiB of pieces, each
    with 4 bytes of checksum, 2 of length and 1 of kind before it. A record may lie in pieces of several blocks."""
    data, place, found = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:  # the rest of a block is too short for a piece
            place += 32768 - place % 32768
            continue
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        found += data[place + 7 : place + 7 + length]
        place += 7 + length
    return found


@pytest.mark.skipif(find_spec("wandb") is None, reason="needs sightword[wandb]")
def test_weights_and_biases_offline(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    resolved = recipe('training.trackers=["wandb"]')
    train(resolved, tmp_path / "run", pairs, validate=value)
    (file,) = (tmp_path / "run" / "trackers").glob("wandb/offline-run-*/run-run-*.wandb")
    expected = {str(event["loss"]).encode() for event in steps(tmp_path / "run")} | {b"validation/top1"}
    deadline = time.monotonic() + 30  # its own process writes, on a busy machine somewhat later
    while not all(word in records_of(file) for word in expected) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert {word for word in expected if word in records_of(file)} == expected


def test_a_run_leaves_a_card_of_its_record(pairs: PairList, tmp_path: Path):
    folder = Path(str(pairs.pairs[0].image)).parent
    page = PAGE.replace("unused here", str(folder)).replace("validation = 0.0", "validation = 0.2")
    (tmp_path / "recipe.toml").write_text(page)
    resolved = read_recipe(tmp_path / "recipe.toml", (*FEW, "training.keep=best"))
    run_training(resolved, tmp_path / "run", "cpu")
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    record = json.loads((tmp_path / "run" / "model" / "contract.json").read_text())["provenance"]["training"]
    assert (record["steps"], record["sittings"], record["skipped"]) == (30, 1, 0)
    assert [row["step"] for row in record["validations"]] == [10, 20, 30]
    assert record["weights_of_step"] in (10, 20, 30)
    best = max(record["validations"], key=lambda row: row["value"])
    assert best["step"] == record["weights_of_step"]
    for said in (
        "| steps | 30 |",
        "| weights of step |",
        f"| 10 | top1 | {100 * record['validations'][0]['value']:.1f} (",
        "| pairs |",
        "torch 2.",
        f'path = "{folder}"',
        "[training]",
        f'sightword.load("{tmp_path / "run" / "model"}")',
    ):
        assert said in card, said
    sightword.load(tmp_path / "run" / "model")  # a README is no hindrance
