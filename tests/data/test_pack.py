"""Packing pairs into shards, and finding what is broken in shards."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from sightword.cli import run as command
from sightword.data.check import check
from sightword.data.index import SUFFIX
from sightword.data.pack import pack
from sightword.data.sources import open_pairs
from sightword.errors import RequestError, SightwordError
from tests.conftest import make_picture
from tests.data.test_listing import png, write_shard, write_table
from tests.data.test_sharded import make_shards, members


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Thirty pairs of several formats, one picture without a text, one text without a picture, one empty file."""
    folder = tmp_path / "photos"
    (folder / "inner").mkdir(parents=True)
    for number in range(30):
        path = folder / ("inner" if number % 2 else "") / f"{number}.{('png', 'jpg', 'webp')[number % 3]}"
        make_picture(20, 16, number).save(path)
        path.with_suffix(".txt").write_text(f"caption {number} ä")
    (folder / "30.png").write_bytes(png(30))
    (folder / "31.txt").write_text("no picture")
    (folder / "32.png").write_bytes(b"")
    (folder / "32.txt").write_text("an empty picture")
    return folder


def contents(source: Any) -> dict[str, tuple[str, bytes]]:
    return {pair.texts[0]: pair.image if isinstance(pair.image, Path) else pair.image.read() for pair in source}


def test_what_is_packed_comes_out_unchanged(folder: Path, tmp_path: Path) -> None:
    packed = pack(str(folder), tmp_path / "shards", pairs=8)
    assert (packed.shards, packed.pairs) == (4, 30)
    assert {skip.key: skip.reason for skip in packed.skipped} == {
        "30.png": "has no .txt beside it",
        "31.txt": "has no image beside it",
        "32.png": "the file is empty",
    }
    names = sorted(path.name for path in (tmp_path / "shards").iterdir())
    assert names == sorted(f"{shard:05}.tar{suffix}" for shard in range(4) for suffix in ("", SUFFIX))
    assert packed.bytes == sum(path.stat().st_size for path in (tmp_path / "shards").glob("*.tar"))
    found = contents(open_pairs(str(tmp_path / "shards")))
    original = {pair.texts[0]: pair.image for pair in open_pairs(str(folder))}
    assert found == {text: path.read_bytes() for text, path in original.items() if path.stat().st_size}
    with tarfile.open(tmp_path / "shards" / "00000.tar") as tar:
        first = tar.getmembers()[:3]
        assert [member.name.partition(".")[0] for member in first] == ["000000000"] * 3
        assert {member.name.rpartition(".")[2] for member in first[1:]} == {"txt", "json"}
        assert {(member.mtime, member.uid, member.mode) for member in tar} == {(0, 0, 0o644)}
        record = tar.extractfile(first[2])
        assert record is not None
        assert (folder / json.load(record)["key"]).exists()
    assert not check([str(tmp_path / "shards")]).broken


def test_packing_again_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pack(str(folder), tmp_path / name)
    assert (tmp_path / "a" / "00000.tar").read_bytes() == (tmp_path / "b" / "00000.tar").read_bytes()


def test_a_shard_is_no_larger_than_was_asked(folder: Path, tmp_path: Path) -> None:
    big = make_picture(700, 700, 1)
    for number in range(30):
        big.save(folder / "big.bmp") if not number else (folder / f"big{number}.bmp").hardlink_to(folder / "big.bmp")
        (folder / f"big{number or ''}.txt").write_text("big")
    packed = pack(str(folder), tmp_path / "shards", megabytes=4)
    sizes = [path.stat().st_size for path in (tmp_path / "shards").glob("*.tar")]
    assert packed.shards == len(sizes) > 10
    assert max(sizes) <= 4_000_000 + 20_480  # a tar is filled up to whole records


def test_shards_and_tables_are_packed_with_their_labels(tmp_path: Path) -> None:
    write_table(tmp_path / "t.parquet", {"image": [png(0), png(1)], "text": ["one", None], "label": ["dog", "cat"]})
    pack(str(tmp_path / "t.parquet"), tmp_path / "shards")
    found = {pair.texts: pair.label for pair in open_pairs(str(tmp_path / "shards"))}
    assert found == {("one",): "dog", ("cat",): "cat"}
    pack(str(tmp_path / "shards"), tmp_path / "again", pairs=1)
    assert {pair.texts: pair.label for pair in open_pairs(str(tmp_path / "again"))} == found


def test_nothing_half_written_is_left(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("")
    with pytest.raises(RequestError, match="is there already"):
        pack(str(folder), tmp_path / "taken")
    for path in folder.rglob("*.*"):
        if path.suffix != ".txt":
            path.write_bytes(b"no picture")
    with pytest.raises(SightwordError, match=r"none of the 31 pictures could be read, .*; nothing was written"):
        pack(str(folder), tmp_path / "out")
    with pytest.raises(RequestError, match="at least 1 pair"):
        pack(str(folder), tmp_path / "out", pairs=0)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "taken"}


def test_check_names_everything_that_is_broken(tmp_path: Path) -> None:
    make_shards(tmp_path, count=2, each=4)
    odd = members(range(8, 12))
    odd |= {"00009.jpg": png(9)[:60], "00012.jpg": png(12), "00013.txt": b"alone", "../x.jpg": png(13)}
    write_shard(tmp_path / "00002.tar", odd)
    cut = write_shard(tmp_path / "00003.tar", members(range(20, 24)))
    cut.write_bytes(cut.read_bytes()[: 7 * 512])
    assert len(open_pairs(str(tmp_path))) == 13
    # An index that claims too much is not believed.
    lie = tmp_path / f"00003.tar{SUFFIX}"
    lie.write_bytes((tmp_path / f"00000.tar{SUFFIX}").read_bytes())
    checked = check([f"{tmp_path}/{{00000..00004}}.tar"])
    assert (checked.shards, checked.pairs, checked.exit_code) == (5, 12, 1)
    named = {(Path(entry.shard).name, entry.key): entry.reason for entry in checked.broken}
    assert set(named) == {
        ("00002.tar", "00009"),
        ("00002.tar", "00012"),
        ("00002.tar", "00013"),
        ("00002.tar", "../x.jpg"),
        ("00003.tar", "00021.jpg"),
        ("00003.tar", "00003.tar"),
        ("00004.tar", "00004.tar"),
    }
    assert "damaged" in named["00002.tar", "00009"]
    assert named["00002.tar", "00012"] == "has no text in the shard"
    assert "cut short" in named["00003.tar", "00003.tar"]
    assert named["00004.tar", "00004.tar"] == "no such shard"


def test_the_commands(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    assert command(["data", "pack", str(folder), str(out), "--pairs", "20", "--json", str(tmp_path / "pack.json")]) == 0
    said = capsys.readouterr()
    assert "30 pairs in 2 shards" in said.out
    assert "32.png: the file is empty" in said.err
    values = json.loads((tmp_path / "pack.json").read_text())
    assert set(values) == {"out", "shards", "pairs", "bytes", "skipped"}
    assert set(values["skipped"][0]) == {"key", "reason"}
    assert command(["data", "check", str(out)]) == 0
    assert "30 whole pairs in 2 shards, 0 broken" in capsys.readouterr().out
    (out / "00001.tar").write_bytes((out / "00001.tar").read_bytes()[:5000])
    assert command(["data", "check", str(out), "--json", str(tmp_path / "check.json")]) == 1
    assert "00001.tar: the shard" in capsys.readouterr().err
    values = json.loads((tmp_path / "check.json").read_text())
    assert set(values) == {"shards", "pairs", "broken"}
    assert set(values["broken"][0]) == {"shard", "key", "reason"}
    for wrong in (["check"], ["check", str(tmp_path / "photos")], ["pack", str(folder), str(out)], ["pack", "no", "x"]):
        assert command(["data", *wrong]) == 2
