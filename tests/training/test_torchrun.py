"""The real torchrun, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightword.data.pairs import PairList
from sightword.training.log import read_log
from tests.training.test_loop import PAGE, weights
from tests.training.test_ranks import free_port


def torchrun(folder: Path, pairs: PairList, *changes: str) -> "subprocess.Popen[str]":
    (folder / "recipe.toml").write_text(PAGE.replace("unused here", str(Path(str(pairs.pairs[0].image)).parent)))
    launcher = f"-m torch.distributed.run --nproc_per_node 2 --master_addr 127.0.0.1 --master_port {free_port()}"
    command = ["-m", "sightword", "train", "recipe.toml", "--out", "run", "--device", "cpu"]
    command += [word for change in ("data.workers=0", *changes) for word in ("--set", change)]
    return subprocess.Popen(
        [sys.executable, *launcher.split(), *command],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(str(Path(path).resolve()) for path in sys.path if path)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_a_run_that_shares_the_model(pairs: PairList, tmp_path: Path):
    run = torchrun(tmp_path, pairs, "training.parallel=fsdp", "training.steps=4", "training.every=2")
    told, _ = run.communicate(timeout=300)
    assert run.returncode == 0, told
    assert "Traceback" not in told
    (start,) = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "start"]
    assert start["ranks"] == 2
    assert (tmp_path / "run" / "snapshots" / "step-00000004" / "rank-1-of-2.pt").exists()
    assert weights(tmp_path / "run")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks as Linux tells them")
def test_a_rank_that_dies_ends_the_run_with_its_number(pairs: PairList, tmp_path: Path):
    run = torchrun(tmp_path, pairs, "training.steps=1000000", "training.every=5")
    try:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "run").glob("snapshots/step-*")) and time.monotonic() < deadline:
            time.sleep(0.1)
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        (second,) = [int(pid) for pid in children if "RANK=1\0" in Path(f"/proc/{pid}/environ").read_text()]
        os.kill(second, signal.SIGKILL)
        told, _ = run.communicate(timeout=120)
    finally:
        run.kill()
    assert run.returncode == 1
    # torchrun ends the ranks of its own machine at once, before they have found out, and names who was first.
    assert re.search(r"Root Cause.*?rank\s+: 1 .*?exitcode\s+: -9", told, re.DOTALL), told
