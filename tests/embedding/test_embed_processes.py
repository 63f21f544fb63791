"""`embed` on several devices of one machine: a process each, and the same files."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sightword.data.listing import Listing
from sightword.embedding.bulk import embed
from sightword.embedding.parts import write_list
from sightword.embedding.processes import embed_in_processes, find_devices
from sightword.embedding.worker import Job
from sightword.errors import RequestError, SightwordError
from tests.embedding.conftest import files_of


def test_two_devices_give_the_same_files(checkpoint: Path, photos: Path, whole: Path, tmp_path: Path) -> None:
    told: list[int] = []

    def count(done: int, total: int | None) -> None:
        if total:
            told.append(done)

    report = embed(
        photos, checkpoint, tmp_path / "out", part_size=8, batch_size=3, device=["cpu", "cpu"], progress=count
    )
    assert (report.now, report.embedded, report.skipped) == (30, 27, 3)
    assert files_of(tmp_path / "out") == files_of(whole)
    assert (told[0], told[-1]) == (0, 30)


def test_what_fails_in_a_worker_is_said_as_it_is(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="the device 'cuda:77' cannot be used here"):
        embed(photos, checkpoint, tmp_path / "out", device=["cpu", "cuda:77"])
    for _ in write_list(tmp_path / ".list.parquet", Listing([photos]), 8):
        pass
    job = Job(tmp_path, checkpoint, "sha256:another", "fp32", "fast", 3, None)
    with pytest.raises(SightwordError, match="not the model that the work was begun with"):
        embed_in_processes(job, ["cpu"], [0, 1, 2, 3], lambda images: None)


def test_auto_is_every_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert find_devices("auto") == find_devices("cuda") == ["cuda:0", "cuda:1", "cuda:2"]
    assert find_devices("cuda:1") == ["cuda:1"]
    assert find_devices("cpu") == ["cpu"]


PARENT = """
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from sightword.embedding.processes import _begin, _Shared
if __name__ == "__main__":
    context = get_context("spawn")
    shared = _Shared(context.Value("q", 0), context.Value("q", 0), context.Event())
    with ProcessPoolExecutor(1, context, _begin, (None, ["cpu"], 1, shared)) as pool:
        pool.submit(int).result()
        print(*pool._processes, flush=True)
        time.sleep(600)
"""


def test_workers_end_with_a_main_process_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = Path(f"/proc/{int(parent.stdout.readline())}")
    assert worker.exists()
    parent.kill()
    parent.wait()
    for _ in range(1000):
        if not worker.exists() or "Z (zombie)" in (worker / "status").read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the worker is still there")
