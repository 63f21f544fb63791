"""Shards as a source: every whole pair, by its key, and everything else named."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec, open_image
from sightword.data.index import SUFFIX
from sightword.data.loader import Loader
from sightword.data.pairs import Source, split
from sightword.data.places import expand_braces
from sightword.data.sharded import ShardedPairs, open_shards
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.errors import ImageError, RequestError
from tests.data.test_listing import png, write_shard, write_table


def members(numbers: range) -> dict[str, bytes]:
    """As img2dataset writes them."""
    found: dict[str, bytes] = {}
    for number in numbers:
        found[f"{number:05}.jpg"] = png(number)
        found[f"{number:05}.json"] = json.dumps({"caption": "not this one", "key": f"{number:05}"}).encode()
        found[f"{number:05}.txt"] = f"caption {number}".encode()
    return found


def make_shards(folder: Path, count: int = 3, each: int = 5) -> Path:
    folder.mkdir(exist_ok=True)
    for shard in range(count):
        write_shard(folder / f"{shard:05}.tar", members(range(shard * each, (shard + 1) * each)))
    return folder


def as_dict(source: Source) -> dict[str, str]:
    return {pair.key: pair.texts[0] for pair in source}


def reasons(source: Source) -> dict[str, str]:
    return {skip.key: skip.reason for skip in source.skipped}


def read(source: Source, index: int) -> bytes:
    image: Any = source[index].image
    return image.read()


# --- what is in them ------------------------------------------------------------------------------------------------


def test_a_folder_of_shards_as_img2dataset_leaves_it(tmp_path: Path) -> None:
    make_shards(tmp_path)
    for shard in range(3):  # a table about each shard lies beside it, without pictures
        write_table(tmp_path / f"{shard:05}.parquet", {"url": ["x"], "caption": ["y"], "key": ["00000"]})
        (tmp_path / f"{shard:05}_stats.json").write_text("{}")
    source = open_pairs(str(tmp_path))
    assert as_dict(source) == {f"{n // 5:05}.tar/{n:05}": f"caption {n}" for n in range(15)}
    assert not source.skipped
    assert [read(source, n) for n in range(15)] == [png(n) for n in range(15)]
    assert source.blocks is None
    assert str(source[7].image) == source[7].key == "00001.tar/00007"
    with pytest.raises(IndexError):
        source[15]


@pytest.mark.parametrize(
    "names",
    [
        ["{}/*.tar"],
        ["{}/{{00000..00002}}.tar"],
        ["{}/{{00000,00001}}.tar", "{}/00002.tar"],
        ["{}/00000.tar", "{}/"],
        ["file://{}/0000[012].tar"],
    ],
)
def test_the_ways_to_name_shards(tmp_path: Path, names: list[str]) -> None:
    make_shards(tmp_path)
    source = open_pairs([name.format(tmp_path) for name in names])
    assert [pair.texts[0] for pair in source] == [f"caption {n}" for n in range(15)]


def test_braces() -> None:
    assert [*expand_braces("a{08..10}.tar")] == ["a08.tar", "a09.tar", "a10.tar"]
    assert [*expand_braces("{x,y}/{1..2}")] == ["x/1", "x/2", "y/1", "y/2"]
    assert [*expand_braces("a{b}c")] == ["a{b}c"]
    with pytest.raises(RequestError, match="counts upwards"):
        [*expand_braces("{9..1}.tar")]


def test_odd_pairs_are_taken_or_named(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "s.tar",
        {
            "alone.jpg": png(0), "words.txt": b"no picture", "blank.jpg": png(1), "blank.txt": b" \n ",
            "long.png": png(2), "long.txt": ("word " * 2000).encode(),
            "script.webp": png(3), "script.txt": "\ufeffчёрная кошка  和 黒猫\n".encode(),
            "latin.jpg": png(4), "latin.txt": b"caf\xe9",
            "later.jpg": png(5), "record.jpg": png(6), "record.json": b'{"caption": "from the record \\ud800"}',
            "broken.jpg": png(7), "broken.json": b"{", "classed.jpg": png(8), "classed.cls": b"tabby cat\n",
            "huge.jpg": png(9), "huge.txt": b"x" * (1 << 20) + b"x", "later.txt": b"apart",
            "two.left.png": png(10), "two.right.png": png(11), "two.txt": b"left",
            "/etc/passwd.jpg": png(12), "../up.txt": b"up", ".hidden.jpg": png(13), "notes.md": b"#",
        },
    )  # fmt: skip
    source = open_shards([str(tmp_path)])
    texts = as_dict(source)
    assert {key.removeprefix("s.tar/"): text[:40] for key, text in texts.items()} == {
        "long": ("word " * 8),
        "script": "чёрная кошка 和 黒猫",
        "latin": "caf\ufffd",
        "later": "apart",
        "record": "from the record ?",
        "classed": "tabby cat",
        "two": "left",
    }
    assert len(texts["s.tar/long"]) == 9999
    assert [pair.label for pair in source if pair.key == "s.tar/classed"] == ["tabby cat"]
    leaves = "its name leaves the folder (absolute, or with ..)"
    assert reasons(source) == {
        "s.tar/alone": "has no text in the shard",
        "s.tar/words": "has no image in the shard",
        "s.tar/blank": "its text is empty",
        "s.tar/broken": "its text is empty",
        "s.tar/huge": "its text is longer than a megabyte",
        "s.tar/two.right.png": "is a further image of its key",
        "s.tar//etc/passwd.jpg": leaves,
        "s.tar/../up.txt": leaves,
    }
    assert not (tmp_path.parent / "up.txt").exists()
    place = [pair.key for pair in source].index("s.tar/two")
    assert read(source, place) == png(10)


def test_a_key_that_stands_twice_is_taken_once(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for name, content in (("a.jpg", png(0)), ("a.txt", b"one"), ("a.jpg", png(1)), ("a.txt", b"two")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    source = open_shards([str(tmp_path)])
    assert as_dict(source) == {"s.tar/a": "one"}
    assert [skip.reason for skip in source.skipped] == [
        "is a further image of its key",
        "is a further txt member of its key",
    ]


def test_labels_that_are_numbers_need_names(tmp_path: Path) -> None:
    bare, told = {"a.jpg": png(0), "a.cls": b"1"}, {"b.jpg": png(1), "b.cls": b"0", "b.txt": b"my dog"}
    write_shard(tmp_path / "s.tar", bare | told)
    with pytest.raises(RequestError, match=r"labels are numbers: name a file"):
        open_shards([str(tmp_path)])
    with pytest.raises(RequestError, match="has the label 1, and `classes` names only 1"):
        open_shards([str(tmp_path)], ["dog"])
    source = open_shards([str(tmp_path)], ["dog", "cat"])
    assert [(pair.texts, pair.label) for pair in source] == [(("cat",), "cat"), (("my dog",), "dog")]
    write_shard(tmp_path / "s.tar", told)
    assert [pair.label for pair in open_shards([str(tmp_path)])] == [""]


# --- what is broken -------------------------------------------------------------------------------------------------


def test_of_a_shard_that_is_cut_short_all_whole_pairs_remain(tmp_path: Path) -> None:
    make_shards(tmp_path, count=1, each=20)
    whole = (tmp_path / "00000.tar").read_bytes()
    whole_keys = [pair.key for pair in open_shards([str(tmp_path)])]
    for cut in (len(whole) // 2, len(whole) // 2 + 300, 3 * 512 + 100):
        (tmp_path / "00000.tar").write_bytes(whole[:cut])
        source = open_shards([str(tmp_path)])
        taken = [pair.key for pair in source]
        assert taken == whole_keys[: len(taken)]
        assert [read(source, n) for n in range(len(source))] == [png(n) for n in range(len(source))]
        # A pair takes six blocks here: header and data of three members.
        assert len(source) >= cut // (6 * 512) - 1
        assert any("cut short" in reason for reason in reasons(source).values()), cut


def test_missing_empty_and_foreign_shards_are_named_and_the_others_go_on(tmp_path: Path) -> None:
    make_shards(tmp_path, count=1)
    (tmp_path / "00001.tar").write_bytes(b"")
    write_shard(tmp_path / "00002.tar", {})
    (tmp_path / "00003.tar").write_bytes(b"no tar at all" * 100)
    source = open_shards([f"{tmp_path}/{{00000..00004}}.tar"])
    assert len(source) == 5
    named = {key.rpartition("/")[2]: reason for key, reason in reasons(source).items()}
    assert named["00004.tar"] == "no such shard"
    assert "not a readable tar" in named["00003.tar"]
    assert set(named) <= {"00001.tar", "00003.tar", "00004.tar"}
    with pytest.raises(RequestError, match=r"no image-text pairs in 2 shards \(2 skipped, the first: .*no such shard"):
        open_shards([f"{tmp_path}/{{00008..00009}}.tar"])
    with pytest.raises(RequestError, match="no file fits this pattern"):
        open_shards([f"{tmp_path}/x*.tar"])
    (tmp_path / "a.png").write_bytes(png(0))
    with pytest.raises(RequestError, match="holds image files and shards"):
        open_pairs(str(tmp_path))


def test_a_shard_that_changes_during_a_run_is_named(tmp_path: Path) -> None:
    make_shards(tmp_path, count=1)
    source = open_shards([str(tmp_path)])
    write_shard(tmp_path / "00000.tar", members(range(50, 55)))
    with pytest.raises(ImageError, match=r"00000\.tar/00000: .*has changed since the run began"):
        open_image(source[0].image)
    (tmp_path / "00000.tar").unlink()
    with pytest.raises(ImageError, match="could not be read"):
        open_image(open_shards_gone(source)[0].image)


def open_shards_gone(source: Source) -> Source:
    """The same source as another process would hold it, with no file open and nothing tried before."""
    assert isinstance(source, ShardedPairs)
    return ShardedPairs(list(zip(source.places, source.indexes, strict=True)))


# --- the index ------------------------------------------------------------------------------------------------------


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


# --- tables ---------------------------------------------------------------------------------------------------------


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


# --- elsewhere ------------------------------------------------------------------------------------------------------


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


def loader_of(source: Source, tokenizer: Tokenizer, **options: Any) -> Loader:
    return Loader(source, tokenizer, ImageSpec(size=8), Augment(), batch_size=5, seed=3, **options)


def epoch_of(loader: Loader, count: int) -> list[str]:
    batches = loader.batches()
    keys = [key for batch in islice(batches, count) for key in batch.keys]
    batches.close()
    return keys


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
    gone = open_shards_gone(there)
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


# --- in a training --------------------------------------------------------------------------------------------------


def test_damage_costs_what_is_damaged_and_nothing_else(tmp_path: Path, tokenizer: Tokenizer) -> None:
    """The floor: 5 % corrupt members, one truncated shard, one missing."""
    make_shards(tmp_path, count=6, each=40)
    corrupt = [7, 12, 41, 43, 85, 90, 121, 130, 170, 199, 205, 219]
    for shard in range(6):
        content = members(range(shard * 40, shard * 40 + 40))
        content |= {f"{n:05}.jpg": png(n)[:50] for n in corrupt if n // 40 == shard}
        write_shard(tmp_path / f"{shard:05}.tar", content)
    cut = tmp_path / "00002.tar"
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    shutil.move(tmp_path / "00004.tar", tmp_path / "elsewhere")
    source = open_pairs(f"{tmp_path}/{{00000..00005}}.tar")
    loader = loader_of(source, tokenizer)
    taken, skipped = [], {}
    batches = replace(loader, batch_size=1).batches()
    for batch in islice(batches, len(source)):
        taken += batch.keys
        skipped |= {skip.key: skip.reason for skip in batch.skipped}
    batches.close()
    there = {pair.key for pair in source}
    assert {int(key[-5:]) for key in skipped} == {n for n in corrupt if f"{n // 40:05}.tar/{n:05}" in there}
    assert set(taken) | set(skipped) == there
    assert len(taken) + len(skipped) == len(there)
    assert {int(key[-5:]) // 40 for key in there} == {0, 1, 2, 3, 5}
    assert sum(key.startswith("00002") for key in there) >= 18
    assert [reason for reason in reasons(source).values() if "no such shard" in reason]
    assert [reason for reason in reasons(source).values() if "cut short" in reason]


@pytest.mark.parametrize("workers", [0, 3])
def test_workers_change_nothing(tmp_path: Path, tokenizer: Tokenizer, workers: int) -> None:
    source = open_pairs(str(make_shards(tmp_path)))
    expected = epoch_of(loader_of(source, tokenizer, workers=1), 9)
    assert epoch_of(loader_of(source, tokenizer, workers=workers), 9) == expected


def test_holding_out_by_key_moves_with_the_folder(tmp_path: Path) -> None:
    make_shards(tmp_path / "a", count=4, each=30)
    rest, held = split(open_pairs(str(tmp_path / "a")), 0.2)
    assert 8 < len(held) < 45
    assert {*as_dict(rest)} | {*as_dict(held)} == {*as_dict(open_pairs(str(tmp_path / "a")))}
    assert not {*as_dict(rest)} & {*as_dict(held)}
    shutil.copytree(tmp_path / "a", tmp_path / "b" / "c")
    moved, moved_held = split(open_pairs(str(tmp_path / "b" / "c")), 0.2)
    assert as_dict(moved_held) == as_dict(held)
    assert moved.fingerprint == rest.fingerprint
