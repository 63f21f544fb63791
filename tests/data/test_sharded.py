"""Shards as a source: every whole pair, by its key, and everything else named."""

from __future__ import annotations

import io
import shutil
import tarfile
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from sightword.data.images import open_image
from sightword.data.pairs import split
from sightword.data.places import expand_braces
from sightword.data.sharded import open_shards
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.errors import ImageError, RequestError
from tests.data.shard_files import as_dict, epoch_of, loader_of, make_shards, members, opened_afresh, read, reasons
from tests.data.test_listing import png, write_shard, write_table


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
        open_image(opened_afresh(source)[0].image)


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
