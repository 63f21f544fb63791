"""`embed`: every source gives the vectors of embed_images, and nothing is lost however it ends."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

import sightword
from sightword.checkpoints.fingerprint import fingerprint
from sightword.embedding import outfolder, worker
from sightword.embedding.bulk import embed
from sightword.errors import RequestError, SightwordError
from sightword.model import Model
from tests.conftest import make_picture
from tests.embedding.conftest import BROKEN, files_of, sorted_files

REASON = "is damaged or cut short"


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def expected(model: Model, photos: Path) -> tuple[list[str], np.ndarray]:
    good = [(key, data) for key, data in sorted_files(photos) if key not in BROKEN]
    return [key for key, _ in good], model.embed_images([data for _, data in good])


# --- what comes out -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["folder", "table", "shards"])
def test_every_source_gives_the_same_vectors(
    kind: str, checkpoint: Path, photos: Path, table: Path, shards: Path, expected: Any, tmp_path: Path
) -> None:
    source = {"folder": photos, "table": table, "shards": sorted(shards.iterdir())}[kind]
    told: list[tuple[int, int | None]] = []
    report = embed(
        source, checkpoint, tmp_path / "out", part_size=8, device="cpu", progress=lambda *numbers: told.append(numbers)
    )
    assert (report.images, report.embedded, report.skipped, report.parts, report.now) == (30, 27, 3, 4, 30)
    assert (report.exit_code, report.dim, report.precision) == (0, expected[1].shape[1], "fp32")
    keys, vectors = sightword.read_vectors(tmp_path / "out")
    names, exact = expected
    assert [key.removesuffix(".png") for key in keys] == [name.removesuffix(".png") for name in names]
    assert vectors.dtype == np.float16
    assert np.abs(vectors - exact).max() < 1e-3  # float16
    assert [line["key"].removesuffix(".png") for line in lines(tmp_path / "out")] == [
        name.removesuffix(".png") for name in sorted(BROKEN)
    ]
    assert told[-1] == (30, 30)
    assert (30, None) in told  # while they were listed
    done = [number for number, total in told if total]
    assert done == sorted(done)


def test_the_files_are_what_the_documents_say(checkpoint: Path, photos: Path, model: Model, whole: Path) -> None:
    assert sorted(files_of(whole)) == ["embed.json", *(f"part-0000{n}.parquet" for n in range(4)), "skipped.jsonl"]
    assert json.loads((whole / "embed.json").read_text()) == {
        "format": "sightword-vectors/1",
        "model": str(checkpoint),
        "fingerprint": fingerprint(model.model, model.contract),
        "dim": model.dim,
        "dtype": "float16",
        "precision": "fp32",
        "decode": "fast",
        "source": [str(photos)],
        "image_column": None,
        "key_column": None,
        "part_size": 8,
        "images": 30,
        "finished": True,
        "sightword": sightword.__version__,
        "embedded": 27,
        "skipped": 3,
        "parts": [f"part-0000{n}.parquet" for n in range(4)],
    }
    part = pyarrow.parquet.read_table(whole / "part-00000.parquet")
    assert part.column_names == ["key", "source", "vector"]
    assert str(part.schema.field("vector").type) == f"fixed_size_list<element: halffloat>[{model.dim}]"
    assert set(part["source"].to_pylist()) == {str(photos)}
    for left in lines(whole):
        assert list(left) == ["key", "source", "reason"]
        assert REASON in left["reason"]


def test_vectors_are_read_part_by_part(whole: Path, expected: Any) -> None:
    parts = list(sightword.iter_vectors(whole))
    assert [len(part.keys) for part in parts] == [8 - n for n in (1, 2, 0)] + [6]
    keys, vectors = sightword.read_vectors(whole)
    assert [key for part in parts for key in part.keys] == keys
    assert np.array_equal(np.concatenate([part.vectors for part in parts]), vectors)


def test_a_single_image(checkpoint: Path, photos: Path, model: Model, tmp_path: Path) -> None:
    embed(photos / "00.png", checkpoint, tmp_path / "out", device="cpu")
    keys, vectors = sightword.read_vectors(tmp_path / "out")
    assert keys == ["00.png"]
    assert np.abs(vectors - model.embed_images([photos / "00.png"])).max() < 1e-3


def test_a_part_of_which_nothing_could_be_read(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(b"")
    shutil.copy(photos / "00.png", tmp_path / "4.png")
    report = embed(tmp_path, checkpoint, tmp_path / "out", part_size=2, device="cpu")
    assert (report.embedded, report.skipped, report.exit_code) == (1, 4, 0)
    assert sightword.read_vectors(tmp_path / "out").keys == ["4.png"]
    nothing = embed([tmp_path / "0.png", tmp_path / "1.png"], checkpoint, tmp_path / "none", device="cpu")
    assert (nothing.embedded, nothing.exit_code) == (0, 1)
    assert sightword.read_vectors(tmp_path / "none").vectors.shape == (0, nothing.dim)


def test_the_fingerprint_is_of_the_model_not_of_its_files(
    checkpoint: Path, model: Model, tmp_path: Path, expected: Any
) -> None:
    shutil.copytree(checkpoint, tmp_path / "copy")
    contract = json.loads((tmp_path / "copy" / "contract.json").read_text())
    contract["licence"] = "mine"
    (tmp_path / "copy" / "contract.json").write_text(json.dumps(contract))
    mine = fingerprint(model.model, model.contract)
    copy = sightword.load(tmp_path / "copy", device="cpu")
    assert fingerprint(copy.model, copy.contract) == mine
    contract["image"]["interpolation"] = "bilinear"
    (tmp_path / "copy" / "contract.json").write_text(json.dumps(contract))
    other = sightword.load(tmp_path / "copy", device="cpu")
    assert fingerprint(other.model, other.contract) != mine
    copy.model.log_scale.data += 1
    assert fingerprint(copy.model, copy.contract) != mine


# --- going on -------------------------------------------------------------------------------------------------------

SLOW = """
import sys, time
from sightword.embedding import bulk
from sightword.embedding.embedder import Embedder
whole = Embedder.iter_images
def slow(self, images, batch_size):
    for batch in whole(self, images, batch_size):
        time.sleep(0.1)
        yield batch
Embedder.iter_images = slow
bulk.embed(sys.argv[1], sys.argv[2], sys.argv[3], part_size=8, batch_size=3, device="cpu")
"""


def begin_slowly(*arguments: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", SLOW, *map(str, arguments)], stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    for _ in range(3000):
        if path.exists():
            return
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    raise AssertionError(f"{path} did not appear")


def test_a_killed_job_goes_on_where_it_stopped(checkpoint: Path, photos: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = begin_slowly(photos, checkpoint, out)
    wait_for(out / "part-00001.parquet", process)
    # Meanwhile nobody else may write there, nor read it as if it were finished.
    with pytest.raises(RequestError, match="another embed is writing there"):
        embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    with pytest.raises(RequestError, match="is not finished: the same embed command goes on"):
        sightword.read_vectors(out)
    process.kill()
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*")}
    assert 2 <= len(kept) < 4
    (out / ".part-00003.parquet.left").write_bytes(b"what a kill in the middle of writing leaves")
    report = embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    assert report.now == 30 - 8 * len(kept)
    assert files_of(out) == files_of(whole)
    assert {name: (out / name).stat().st_mtime_ns for name in kept} == kept
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == {".lock"}


@pytest.mark.parametrize("moment", ["list", "manifest", "part", "skipped", "finished"])
def test_it_may_be_killed_at_any_moment(
    moment: str, checkpoint: Path, photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, names = tmp_path / "out", {"list": ".list.parquet", "manifest": "embed.json", "skipped": "skipped.jsonl"}
    name, times = {"part": ("part-00002.parquet", 1), "finished": ("embed.json", 2)}.get(
        moment, (names.get(moment, ""), 1)
    )
    replace, seen = Path.replace, []

    class KilledError(BaseException):
        pass

    def killed(self: Path, target: Path) -> Path:
        """At the moment at which the file would appear."""
        if Path(target).name == name:
            seen.append(target)
            if len(seen) == times:
                raise KilledError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # a killed process tidies nothing up
    monkeypatch.setattr(Path, "rmdir", lambda self: None)
    with pytest.raises(KilledError):
        embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    monkeypatch.undo()
    assert out.is_dir()
    report = embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    assert report.now == {"list": 30, "manifest": 30, "part": 14}.get(moment, 0)
    assert files_of(out) == files_of(whole)


def test_a_damaged_or_foreign_part_is_made_again(checkpoint: Path, photos: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outfolder, "finish", None)
        patch.setattr("sightword.embedding.bulk.finish", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    part = (out / "part-00000.parquet").read_bytes()
    (out / "part-00000.parquet").write_bytes(part[:-100])
    shutil.copy(out / "part-00002.parquet", out / "part-00003.parquet")  # of another number of images
    assert embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu").now == 8 + 6
    assert files_of(out) == files_of(whole)


def test_a_finished_folder_is_left_as_it_is(
    checkpoint: Path, photos: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # But for the lock, which names its last holder.
    before = {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.name != ".lock"}
    monkeypatch.chdir(photos)  # a source is the same, from wherever it is named
    # And `auto` is what it was begun with.
    report = embed(".", checkpoint, whole, part_size=8, device="cpu", precision="auto")
    assert (report.now, report.images, report.embedded) == (0, 30, 27)
    assert {path: path.stat().st_mtime_ns for path in whole.iterdir() if path.name != ".lock"} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "bf16"}, "was begun with precision 'fp32', and not 'bf16'"),
        ({"decode": "exact"}, "was begun with decode 'fast', and not 'exact'"),
        ({"part_size": 9}, "was begun with part_size 8, and not 9"),
        ({"key_column": "k"}, "was begun with key_column None, and not 'k'"),
        ({"source": "elsewhere"}, "was begun with another source"),
        ({"model": "other"}, "was begun with another model"),
    ],
)
def test_other_settings_are_refused(
    change: dict[str, Any], message: str, checkpoint: Path, photos: Path, whole: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(checkpoint, tmp_path / "other")
    contract = json.loads((tmp_path / "other" / "contract.json").read_text())
    contract["image"]["mean"] = [0.5, 0.5, 0.5]
    (tmp_path / "other" / "contract.json").write_text(json.dumps(contract))
    paths = {name: tmp_path / change[name] for name in ("source", "model") if name in change}
    arguments: dict[str, Any] = {"source": photos, "model": checkpoint, "part_size": 8, "device": "cpu"}
    with pytest.raises(RequestError, match=message):
        embed(out=whole, **(arguments | change | paths))


def test_a_folder_that_changes_meanwhile(
    checkpoint: Path, photos: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that vanish are skipped and listed; new ones are no part of a job that was begun."""
    folder, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(photos, folder)
    write = worker.write_part

    def change(path: Path, *rest: Any) -> None:
        write(path, *rest)
        (folder / "28.png").unlink(missing_ok=True)
        make_picture(30, 30).save(folder / "00-new.png")

    monkeypatch.setattr(worker, "write_part", change)
    report = embed(folder, checkpoint, out, part_size=8, device="cpu")
    assert (report.embedded, report.skipped) == (26, 4)
    skipped = lines(out)
    assert {"key": "28.png", "source": str(folder), "reason": "no such file"} in skipped
    assert "00-new.png" not in sightword.read_vectors(out).keys


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "empty"}, "empty: no images"),
        ({"source": "gone"}, "gone: no such file or folder"),
        ({"source": []}, "no source"),
        ({"source": ["empty", "./empty"]}, "stands twice"),
        ({"source": "text.parquet"}, "no column of images"),
        ({"model": "gone"}, "gone: no such checkpoint folder"),
        ({"part_size": 0}, "part_size must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"out": "file"}, "is a file"),
        ({"out": "full"}, "holds something else and no embed.json"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    change: dict[str, Any],
    message: str,
    checkpoint: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("full").mkdir()
    Path("full/thesis.txt").touch()
    Path("file").touch()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["x"]}), "text.parquet")
    before = sorted(tmp_path.rglob("*"))
    arguments: dict[str, Any] = {"source": photos, "model": checkpoint, "out": "out", "device": "cpu"}
    with pytest.raises(RequestError, match=message):
        embed(**(arguments | change))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [None, "{", "[]", '{"format": "other/1"}'])
def test_what_is_no_folder_of_vectors_is_not_read(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "embed.json").write_text(content)
    with pytest.raises(RequestError, match=r"holds no embed\.json|not readable|not of the format"):
        sightword.read_vectors(tmp_path)


def test_a_part_that_was_lost_is_named(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "out")
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(SightwordError, match=r"part-00001\.parquet: not readable"):
        sightword.read_vectors(tmp_path / "out")


# --- a full disk ----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A disk of 64 KiB."""
    (tmp_path / "disk").mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path / "disk"]
    if subprocess.run(mounted, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    try:
        yield tmp_path / "disk"
    finally:
        subprocess.run(["umount", tmp_path / "disk"], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, checkpoint: Path, photos: Path, whole: Path) -> None:
    out, ballast = small_disk / "out", small_disk / "ballast"
    ballast.write_bytes(b"x" * 44_000)
    with pytest.raises(
        SightwordError, match=rf"the disk is full: make room in {out}.*; .* kept: the same command goes on"
    ):
        embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    kept = len(list(out.glob("part-*")))
    assert 1 <= kept < 4
    assert not list(out.glob(".part-*"))
    ballast.unlink()
    assert embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu").now == 30 - 8 * kept
    assert files_of(out) == files_of(whole)


@pytest.mark.parametrize("name", [".list.parquet", "embed.json", "part-00002.parquet", "skipped.jsonl"])
def test_a_disk_that_fills_at_any_file(
    name: str, checkpoint: Path, photos: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, sync = tmp_path / "out", os.fsync

    def full(handle: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).name.startswith(f".{name}."):
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(SightwordError, match=f"{name}: .*the disk is full: make room in {out}"):
            embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    assert files_of(out) == files_of(whole)


# --- memory -----------------------------------------------------------------------------------------------------------


def test_nothing_reads_ahead_of_a_part(checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    """The list is read a unit at a time, so that memory does not grow with the number of images."""
    opened: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        get = worker.WorkList.__getitem__
        patch.setattr(worker.WorkList, "__getitem__", lambda self, unit: (opened.append(unit), get(self, unit))[1])
        patch.setattr(worker, "write_part", lambda path, *_: opened.append(path.name) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(photos, checkpoint, tmp_path / "out", part_size=8, device="cpu")
    assert opened == [0, "part-00000.parquet"]
