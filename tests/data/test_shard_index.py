"""The index of a shard, and tables with bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightword.data.index import SUFFIX
from sightword.data.sharded import open_shards
from sightword.data.sources import open_pairs
from sightword.errors import ImageError, RequestError
from tests.data.shard_files import as_dict, make_shards, members, read, reasons
from tests.data.test_listing import png, write_shard, write_table


def test_an_index_is_built_once_and_again_when_the_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_shards(tmp_path, count=1)
    first = open_shards([str(tmp_path)])
    index = tmp_path / f"00000.tar{SUFFIX}"
    written = index.stat().st_mtime_ns
    again = open_shards([str(tmp_path)])
    assert index.stat().st_mtime_ns == written
    assert as_dict(again) == as_dict(first)
    assert again.fingerprint == first.fingerprint
    for damage in (b"", index.read_bytes()[:200], b"nonsense" * 50):
        index.unlink()  # the old one is mapped
        index.write_bytes(damage)
        assert as_dict(open_shards([str(tmp_path)])) == as_dict(first)
    write_shard(tmp_path / "00000.tar", members(range(30, 33)))
    changed = open_shards([str(tmp_path)])
    assert [pair.texts[0] for pair in changed] == ["caption 30", "caption 31", "caption 32"]
    assert read(changed, 2) == png(32)
    assert changed.fingerprint != first.fingerprint
    assert {path.name for path in tmp_path.iterdir()} == {"00000.tar", index.name}  # nothing half-written


def test_where_nothing_may_be_written_the_index_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sightword.data import index

    make_shards(tmp_path / "shards", count=1)
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path / "cache"))
    homes = index._homes
    # A folder in whose place is a file stands for one that may not be written: tests may run as root.
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setattr(index, "_homes", lambda place: [tmp_path / "file" / "x", [*homes(place)][1]])
    assert len(open_shards([str(tmp_path / "shards")])) == 5
    assert len([*(tmp_path / "cache" / "indexes").iterdir()]) == 1
    monkeypatch.setattr(index, "build_index", None)  # so that it cannot be built again
    assert len(open_shards([str(tmp_path / "shards")])) == 5


def test_tables_with_bytes(tmp_path: Path) -> None:
    for number in range(2):
        rows = [png(number * 10 + n) for n in range(10)]
        images = [{"bytes": data, "path": None} for data in rows]
        images[4] = {"bytes": None, "path": None}
        texts = [f"caption {number * 10 + n}" for n in range(10)]
        texts[6] = ""
        write_table(tmp_path / f"{number}.parquet", {"image": images, "text": texts}, rows=3)
    source = open_pairs(str(tmp_path))
    assert len(source) == 18
    assert reasons(source) == {f"{number}.parquet/6": "its text is empty" for number in range(2)}
    assert source.blocks is not None
    assert source.blocks.tolist() == [9, 9]
    for place in (0, 3, 5, 17):
        assert read(source, place) == png(int(source[place].texts[0].split()[1]))
    with pytest.raises(ImageError, match=r"0\.parquet/4: its row holds no image"):
        read(source, 4)


def test_a_table_of_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"image": [png(0), png(1)], "label": [1, 0], "key": ["a", "b"]})
    source = open_pairs(str(tmp_path / "t.parquet"), ["dog", "cat"])
    assert [(pair.key, pair.texts, pair.label) for pair in source] == [
        ("t.parquet/a", ("cat",), "cat"),
        ("t.parquet/b", ("dog",), "dog"),
    ]


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"image": [png(0)]})
    with pytest.raises(RequestError, match="has no column of texts"):
        open_pairs(str(tmp_path / "t.parquet"))
