"""Evaluation over ranks, with the real torchrun, as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightword.cli import run as command
from sightword.evaluation.records import Results
from tests.conftest import make_picture
from tests.training.test_ranks import free_port

TASKS = ("--task", "zero-shot", "robustness", "--probe", "linear")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 test pictures, which are three batches, of which the second holds one that cannot be read; few to learn
    from."""
    root = tmp_path_factory.mktemp("data") / "shapes"
    for split, count in (("train", 8), ("test", 75)):
        for number, name in enumerate(("circle", "square")):
            (root / split / name).mkdir(parents=True)
            for one in range(count):
                seed = 1000 * number + one + (500 if split == "test" else 0)
                make_picture(20, 18, seed=seed).save(root / split / name / f"{one:02}.png")
    (root / "test" / "square" / "10.png").write_bytes(b"no picture")
    return root


def torchrun(model: Path, data: Path, out: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    launcher = f"-m torch.distributed.run --nproc_per_node 2 --master_addr 127.0.0.1 --master_port {free_port()}"
    words = ["-m", "sightword", "evaluate", str(model), "--suite", str(data), "--out", str(out), "--device", "cpu"]
    path = os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)
    return subprocess.Popen(
        [sys.executable, *launcher.split(), *words, *more],
        env=os.environ | {"PYTHONPATH": path} | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def figures(out: Path) -> dict[str, dict[str, Any]]:
    """The records by name, less when they were made and how long it took."""
    return {record.name: record.to_json() | {"seconds": 0, "environment": {}} for record in Results(out).all()}


def test_two_ranks_find_what_one_finds(
    checkpoint: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path / "cache one"))
    alone = ["evaluate", str(checkpoint), "--suite", str(folder), "--out", str(tmp_path / "one"), "--device", "cpu"]
    assert command([*alone, *TASKS]) == 0
    printed = capsys.readouterr().out
    asked = (checkpoint, folder, tmp_path / "two", *TASKS, "--json", str(tmp_path / "two.json"))
    run = torchrun(*asked, SIGHTWORD_CACHE=str(tmp_path / "cache two"))
    told, _ = run.communicate(timeout=300)
    assert run.returncode == 0, told
    assert "Traceback" not in told
    assert told.count(", corrupted") == printed.count(", corrupted") > 0  # one rank speaks
    one, two = figures(tmp_path / "one"), figures(tmp_path / "two")
    assert len(one) == 3
    assert two == one
    assert one[next(iter(one))]["data"]["unreadable"][0]["key"].endswith("10.png")
    for name in one:
        ours, theirs = (np.load(tmp_path / run / "records" / f"{name}.npz") for run in ("one", "two"))
        assert {*ours.files} == {*theirs.files}
        for each in ours.files:
            np.testing.assert_array_equal(ours[each], theirs[each])
    # The vectors themselves, of three splits.
    kept = [sorted((tmp_path / cache / "features").glob("*/features.npy")) for cache in ("cache one", "cache two")]
    assert [path.parent.name for path in kept[0]] == [path.parent.name for path in kept[1]]
    assert len(kept[0]) == 3
    for ours, theirs in zip(*kept, strict=True):
        np.testing.assert_array_equal(np.load(ours), np.load(theirs))
    assert len(json.loads((tmp_path / "two.json").read_text())["results"]) > 3


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks as Linux tells them")
def test_a_rank_that_dies_is_named_and_leaves_whole_records(checkpoint: Path, folder: Path, tmp_path: Path):
    run = torchrun(checkpoint, folder, tmp_path / "out", "--task", "zero-shot", "robustness")
    try:
        deadline = time.monotonic() + 200
        while not list((tmp_path / "out").glob("records/*.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        (second,) = [int(pid) for pid in children if "RANK=1\0" in Path(f"/proc/{pid}/environ").read_text()]
        os.kill(second, signal.SIGKILL)
        told, _ = run.communicate(timeout=200)
    finally:
        run.kill()
    assert run.returncode == 1
    # torchrun ends the ranks of its own machine at once, before they have found out, and names who was first.
    assert re.search(r"Root Cause.*?rank\s+: 1 .*?exitcode\s+: -9", told, re.DOTALL), told
    (record,) = Results(tmp_path / "out").all()  # what was done before
    assert record.task == "zero-shot"
    assert {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()} == {".json", ".npz"}
    assert not (tmp_path / "out" / "results.parquet").exists()
