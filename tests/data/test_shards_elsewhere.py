"""Shards that are elsewhere: over http, and in memory."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sightword.data.places import temporary_file
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.errors import ImageError, RequestError
from tests.data.shard_files import epoch_of, loader_of, make_shards, opened_afresh, read, reasons
from tests.data.test_listing import png, write_table


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A web server of tmp_path/web on loopback, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    (tmp_path / "web").mkdir()
    handler = functools.partial(Handler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()
        thread.join()


def test_shards_over_http_are_fetched_once_an_epoch(
    tmp_path: Path,
    server: tuple[str, list[str]],
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path / "cache"))
    make_shards(tmp_path / "web", count=6)
    url, asked = server
    source = open_pairs(f"{url}/{{00000..00006}}.tar")
    assert len(source) == 30
    assert reasons(source) == {f"{url}/00006.tar": "no such shard"}
    asked.clear()
    source = open_pairs(f"{url}/{{00000..00005}}.tar")  # the indexes are in the cache
    assert not any(path.endswith(".tar") for path in asked)
    keys = epoch_of(loader_of(source, tokenizer), 6)
    assert sorted(keys) == [pair.key for pair in source]
    assert sorted(path for path in asked if path.endswith(".tar")) == [f"/{shard:05}.tar" for shard in range(6)]
    assert [name for name in os.listdir(tmp_path) if name.startswith("sightword-")] == []


def test_memory_and_here_give_the_same_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    here = open_pairs(str(make_shards(tmp_path / "a", count=3)))
    write_table(tmp_path / "a" / "t.parquet", {"image": [png(90), png(91)], "text": ["90", "91"]})
    memory.put(f"{tmp_path}/a/*.tar", "/data/")
    memory.put(str(tmp_path / "a" / "t.parquet"), "/data/")
    there = open_pairs("memory://data")
    assert [pair.key for pair in there] == [*(pair.key for pair in here), "t.parquet/0", "t.parquet/1"]
    assert [read(there, n) for n in range(15)] == [read(here, n) for n in range(15)]
    assert [read(there, 15), read(there, 16)] == [png(90), png(91)]
    assert there.blocks is not None
    assert there.blocks.tolist() == [5, 5, 5, 2]
    memory.rm("/data/00001.tar")
    gone = opened_afresh(there)
    with pytest.raises(ImageError, match=r"00001\.tar/00005: .*no such file"):
        read(gone, 5)
    assert read(gone, 4) == png(4)


def test_an_index_that_was_copied_along_spares_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    from sightword.data import index

    memory = fsspec.filesystem("memory")
    memory.store.clear()
    open_pairs(str(make_shards(tmp_path / "a", count=1)))
    memory.put(f"{tmp_path}/a/*", "/along/")
    monkeypatch.setattr(index, "build_index", None)
    assert len(open_pairs("memory://along/00000.tar")) == 5


def test_an_unknown_kind_of_place(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="nowhere"):
        open_pairs("nowhere://bucket/a.tar")


KILLED = """
import os, signal
from sightword.data.places import temporary_file
with temporary_file() as path:
    path.write_bytes(b"half a shard")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_download_left_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    subprocess.run([sys.executable, "-c", KILLED], check=False)
    (left,) = (tmp_path / "temporary").iterdir()
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.put(f"{make_shards(tmp_path / 'a', count=1)}/00000.tar", "/left/")

    def start() -> set[Path]:
        assert len(open_pairs("memory://left/00000.tar")) == 5
        return {*(tmp_path / "temporary").iterdir()}

    other = tmp_path / "temporary" / "sightword-copy-folder"
    other.mkdir()
    long_ago = time.time() - 3600
    with temporary_file() as in_use:
        os.utime(in_use, (long_ago, long_ago))
        os.utime(other, (long_ago, long_ago))
        assert start() == {left, in_use, other}  # it may just have been made
        os.utime(left, (long_ago, long_ago))
        assert start() == {in_use, other}
    assert start() == {other}
