"""`sightword embed` as a user runs it."""

from __future__ import annotations

import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import sightword
from sightword.cli import output, run

SLOW = """
import signal, sys, time
from sightword.cli import main
# A shell's background jobs, and so the tests in one, ignore interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
from sightword.embedding.embedder import Embedder
whole, done = Embedder.iter_images, 0
def slow(self, images, batch_size):
    global done
    for batch in whole(self, images, batch_size):
        done += 1
        if done > 4:
            time.sleep(60)  # only an interrupt ends it
        yield batch
Embedder.iter_images = slow
main(sys.argv[1:])
"""


@pytest.fixture
def photos(image_files: list[Path], tmp_path: Path) -> Path:
    shutil.copytree(image_files[0].parent, tmp_path / "photos")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"not a picture")
    return tmp_path / "photos"


def test_embed_says_what_it_did_and_what_it_left_out(
    photos: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vectors"
    command = ["embed", str(photos), "--model", str(checkpoint), "--out", str(out), "--part-size", "4"]
    assert run([*command, "--json", str(tmp_path / "report.json")]) == 0
    said = capsys.readouterr()
    assert said.err == ""  # no progress in a pipe
    assert said.out.splitlines()[0].startswith("8 vectors of 32 (fp32, 9 images in ")
    assert said.out.splitlines()[1] == f"1 of 9 images could not be read: {out / 'skipped.jsonl'}"
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report) == {
        "out", "images", "embedded", "skipped", "dim", "parts", "precision", "now", "seconds",
    }  # fmt: skip
    assert (report["images"], report["embedded"], report["skipped"], report["parts"]) == (9, 8, 1, 3)
    assert len(sightword.read_vectors(out).keys) == 8
    # Again: there is nothing to do, and another precision is another job.
    assert run(command) == 0
    assert "finished before" in capsys.readouterr().out
    assert run([*command, "--precision", "bf16"]) == 2
    assert "was begun with precision 'fp32'" in capsys.readouterr().err


def test_embed_of_nothing_readable_has_failed(
    checkpoint: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = str(photos / "broken.jpg")
    assert run(["embed", broken, "--model", str(checkpoint), "--out", str(tmp_path / "out")]) == 1
    assert "1 of 1 images could not be read" in capsys.readouterr().out
    assert run(["embed", "--model", str(checkpoint), "--out", str(tmp_path / "out")]) == 2
    assert "no source" in capsys.readouterr().err


def test_an_interrupt_ends_cleanly_and_the_same_command_goes_on(photos: Path, checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors"
    arguments = ["embed", photos, "--model", checkpoint, "--out", out, "--part-size", "2", "--batch-size", "1"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, *map(str, arguments)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    for _ in range(3000):
        if (out / "part-00001.parquet").exists() or process.poll() is not None:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate()
    assert process.returncode == 130, errors
    assert errors == "sightword: interrupted; a run goes on with the same command\n"
    assert said == ""
    assert not list(out.glob(".part-*"))
    assert run(list(map(str, arguments))) == 0
    assert len(sightword.read_vectors(out).keys) == 8


def test_a_terminal_sees_the_rate_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Console(force_terminal=True, width=100, file=io.StringIO())
    monkeypatch.setattr(output, "errors", terminal)
    now = 1000.0
    monkeypatch.setattr(output.time, "monotonic", lambda: now)
    with output.counting_progress("embedding") as progress:
        assert progress is not None
        progress(20_000, None)
        progress(5_000, 20_000)  # done in an earlier sitting: no part of the rate
        now += 10
        progress(6_000, 20_000)
    shown = terminal.file.getvalue()  # type: ignore[attr-defined]
    assert "6,000/20,000 · 100/s" in shown
