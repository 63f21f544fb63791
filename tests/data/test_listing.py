"""What is found in folders, tables and shards, under which keys, and what is read there."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from sightword.data.listing import Listing, read_listed
from sightword.data.stored import StoredImage
from sightword.errors import ImageError, RequestError
from tests.conftest import make_picture


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    make_picture(12, 10, seed).save(buffer, "PNG")
    return buffer.getvalue()


def put(folder: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png(number))


def write_table(path: Path, columns: dict[str, Any], rows: int = 1000) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=rows)
    return path


def write_shard(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def listed(*sources: Path, **options: Any) -> list[StoredImage]:
    return list(Listing(sources, **options))


def keys(images: list[StoredImage]) -> list[str]:
    return [image.key for image in images if not image.reason]


def reasons(images: list[StoredImage]) -> dict[str, str]:
    return {image.key: image.reason for image in images if image.reason}


def contents(images: list[StoredImage], image_column: str | None = None) -> list[Any]:
    """Bytes, also of what is given as a path; errors as their reasons."""
    return [
        outcome.reason
        if isinstance(outcome, ImageError)
        else outcome
        if isinstance(outcome, bytes)
        else Path(outcome).read_bytes()
        for outcome in read_listed(images, image_column)
    ]


# --- folders --------------------------------------------------------------------------------------------------------


def test_a_folder_at_any_depth_sorted_by_name(tmp_path: Path) -> None:
    names = ["a.jpg", "b/c.PNG", "b/d/e.webp", "b.jpg", "ä é.jpeg"]
    put(tmp_path, *names[::-1], "notes.txt", "b/table.csv")
    found = listed(tmp_path)
    assert keys(found) == ["a.jpg", "b/c.PNG", "b/d/e.webp", "b.jpg", "ä é.jpeg"]
    assert {image.source for image in found} == {str(tmp_path)}
    assert contents(found) == [(tmp_path / name).read_bytes() for name in keys(found)]
    assert listed(tmp_path) == found


def test_a_deep_folder(tmp_path: Path) -> None:
    place = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):  # deeper than Python's recursion
        os.mkdir("d", dir_fd=place)
        inner = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = inner
    os.close(os.open("x.png", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    assert keys(listed(tmp_path)) == ["d/" * 1100 + "x.png"]
    subprocess.run(["rm", "-r", tmp_path / "d"], check=True)  # pytest's own removal recurses


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, ".thumbs/a.png", "._b.png", "b.png")
    assert keys(listed(tmp_path)) == ["b.png"]


def test_no_folder_is_entered_twice(tmp_path: Path) -> None:
    put(tmp_path, "a/one.png", "b/two.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)  # a circle
    (tmp_path / "b" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "c").symlink_to(tmp_path / "c")
    (tmp_path / "d.png").symlink_to(tmp_path / "d.png")
    found = listed(tmp_path)
    assert keys(found) == ["a/one.png", "b/two.png"]
    assert reasons(found) == {"d.png": "is a broken link, or no plain file"}
    # Nor where a folder is named beside the one it lies in.
    (tmp_path / "a" / "up").unlink()
    assert keys(listed(tmp_path / "a", tmp_path)) == ["one.png", "b/two.png"]


def test_linked_folders_and_files_are_followed(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/one.png", "two.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "file.png").symlink_to(tmp_path / "two.png")
    assert keys(listed(tmp_path / "photos")) == ["file.png", "folder/one.png"]


def test_what_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.png", "locked/b.png")
    os.mkfifo(tmp_path / "pipe.png")  # to open it would be to wait without end
    scandir = os.scandir

    def refuse(folder: Path) -> Any:
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    found = listed(tmp_path)
    assert keys(found) == ["a.png"]
    assert reasons(found) == {"locked": "Permission denied", "pipe.png": "is a broken link, or no plain file"}
    assert contents(found) == [png(0), "Permission denied", "is a broken link, or no plain file"]


def test_a_name_that_is_not_text(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:
        file.write(png(0))
    found = listed(tmp_path)
    assert keys(found) == ["caf\\xe9.png"]
    assert contents(found) == [png(0)]


def test_folders_that_embed_wrote_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "vectors/embed.json", "vectors/b.png")
    assert [image.key for image in listed(tmp_path)] == ["a.png"]


def test_single_files_and_several_sources(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "photos/b.png")
    found = listed(tmp_path / "photos", tmp_path / "a.png")
    assert [(image.key, image.source) for image in found] == [
        ("b.png", str(tmp_path / "photos")),
        ("a.png", str(tmp_path / "a.png")),
    ]


def test_a_source_that_is_not_there_or_of_no_use(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such file or folder"):
        listed(tmp_path / "gone")
    for name in ("a.tar", "a.parquet"):
        (tmp_path / name).write_bytes(b"nonsense" * 100)
        with pytest.raises(RequestError, match=rf"{name}: not a readable (tar|Parquet) file"):
            listed(tmp_path / name)
    for name in ("a.tar.gz", "a.tgz"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(RequestError, match="a compressed shard"):
            listed(tmp_path / name)
    # Found in a folder, they stop nothing.
    put(tmp_path, "z.png")
    found = listed(tmp_path)
    assert keys(found) == ["z.png"]
    assert set(reasons(found)) == {"a.tar", "a.parquet", "a.tar.gz", "a.tgz"}


# --- tables ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["image", "jpg", "bytes", "image_bytes"])
def test_a_table_of_bytes(tmp_path: Path, column: str) -> None:
    rows = [png(n) for n in range(5)] + [None, b""]
    table = write_table(tmp_path / "t.parquet", {"text": ["x"] * 7, column: rows}, rows=2)
    found = listed(table)
    assert keys(found) == ["0", "1", "2", "3", "4", "5", "6"]
    assert {image.source for image in found} == {str(table)}
    assert contents(found) == [*rows[:5], "its row holds no image", "its row holds no image"]
    assert contents(found[1:4]) == rows[1:4]
    assert contents(found[3:4] + found[0:1]) != rows[3:4] + rows[0:1]  # the order of the rows is asked for


def test_tables_as_hugging_face_writes_them(tmp_path: Path) -> None:
    put(tmp_path, "pictures/p.png")
    rows = [{"bytes": png(3), "path": "a.png"}, {"bytes": None, "path": "pictures/p.png"}, None]
    table = write_table(tmp_path / "t.parquet", {"image": rows, "label": [0, 1, 2]})
    assert contents(listed(table)) == [png(3), png(0), "its row holds no image"]


def test_a_table_of_paths(tmp_path: Path) -> None:
    put(tmp_path, "pictures/p.png", "q.png")
    rows = ["pictures/p.png", str(tmp_path / "q.png"), None, "https://example.org/x.png", "gone.png"]
    table = write_table(tmp_path / "t.parquet", {"path": rows})
    found = listed(table)
    assert [image.key for image in found] == [*rows[:2], "2", *rows[3:]]
    assert contents(found[:4]) == [png(0), png(1), "its row holds no image", "is a URL, and nothing is fetched"]
    assert found[4].file == str(tmp_path / "gone.png")
    # In a folder it may stand beside the very pictures it names.
    beside = listed(tmp_path)
    assert keys(beside) == ["pictures/p.png", "q.png"]
    assert "a table of paths is to be named itself" in reasons(beside)["t.parquet"]


def test_columns_by_name(tmp_path: Path) -> None:
    table = write_table(
        tmp_path / "t.parquet", {"image": [png(0)], "second": [png(1)], "number": [7], "id": ["one"], "other": [b"k"]}
    )
    assert keys(listed(table)) == ["one"]
    assert keys(listed(table, key_column="number")) == ["7"]
    assert contents(listed(table, image_column="second"), "second") == [png(1)]
    for options, message in (
        ({"image_column": "gone"}, "the column 'gone' is not there; it has image, second"),
        ({"image_column": "number"}, "the column 'number' holds neither bytes nor paths"),
        ({"key_column": "gone"}, "has no column 'gone' of keys"),
    ):
        with pytest.raises(RequestError, match=message):
            listed(table, **options)
    with pytest.raises(RequestError, match=r"no column of images, as bytes or paths; .* It has text"):
        listed(write_table(tmp_path / "u.parquet", {"text": ["x"]}))


def test_a_damaged_part_of_a_table_costs_that_part_alone(tmp_path: Path) -> None:
    rows = [os.urandom(5000) for _ in range(6)]
    pyarrow.parquet.write_table(
        pyarrow.table({"image": rows}),
        tmp_path / "t.parquet",
        row_group_size=2,
        compression="none",
        write_page_checksum=True,
        use_dictionary=False,
    )
    whole = (tmp_path / "t.parquet").read_bytes()
    offset = pyarrow.parquet.read_metadata(tmp_path / "t.parquet").row_group(1).column(0).data_page_offset
    # The header of the page of rows 2 and 3.
    (tmp_path / "t.parquet").write_bytes(whole[:offset] + b"\xff" * 30 + whole[offset + 30 :])
    got = contents(listed(tmp_path / "t.parquet"))
    assert got[:2] + got[4:] == rows[:2] + rows[4:]
    assert all(reason.startswith("its part of the table is damaged") for reason in got[2:4])


# --- shards ---------------------------------------------------------------------------------------------------------


def test_a_shard_is_read_by_key(tmp_path: Path) -> None:
    shard = write_shard(
        tmp_path / "s.tar",
        {
            "000.jpg": png(0), "000.json": b"{}", "000.txt": b"text",
            "./a.b/001.cls": b"1", "./a.b/001.PNG": png(1),
            "002.txt": b"no image",
            "003.left.png": png(3), "003.right.png": png(4),
            ".hidden.png": png(5),
        },
    )  # fmt: skip
    found = listed(shard)
    assert keys(found) == ["000", "a.b/001", "003"]
    assert reasons(found) == {"003.right.png": "is a further image of its key: choose by the image column"}
    assert contents(found)[:3] == [png(0), png(1), png(3)]
    assert {image.source for image in found} == {str(shard)}
    right = listed(shard, image_column="right.png")
    assert keys(right) == ["003"]
    assert contents(right) == [png(4)]


def test_shards_in_a_folder(tmp_path: Path) -> None:
    for number in (1, 0):
        write_shard(tmp_path / f"{number}.tar", {"a.png": png(number)})
    found = listed(tmp_path)
    assert [(image.source, image.key) for image in found] == [(str(tmp_path / f"{n}.tar"), "a") for n in (0, 1)]
    assert contents(found) == [png(0), png(1)]


def test_hostile_members_are_named_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(png(9))
    shard = tmp_path / "s.tar"
    with tarfile.open(shard, "w") as tar:
        for name in ("../secret.png", "/etc/passwd", "a/../../b.png", "c:/d.png", "..\\e.png"):
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"evil"))
        for name, kind in (
            ("soft.png", tarfile.SYMTYPE),
            ("hard.png", tarfile.LNKTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, str(tmp_path / "secret.png")
            tar.addfile(member)
        member = tarfile.TarInfo("good.png")
        member.size = len(png(0))
        tar.addfile(member, io.BytesIO(png(0)))
    before = sorted(tmp_path.rglob("*"))
    found = listed(shard)
    assert keys(found) == ["good"]
    assert contents(found)[-1] == png(0)
    assert png(9) not in contents(found)
    leaves, link = "its name leaves the folder (absolute, or with ..)", "is a link or no plain file"
    assert list(reasons(found).values()) == [leaves] * 5 + [link] * 3
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("cut", [700, 1600, 2100, 2700])
def test_a_shard_that_is_cut_short(tmp_path: Path, cut: int) -> None:
    whole = write_shard(tmp_path / "s.tar", {f"{n}.png": os.urandom(600) for n in range(3)})  # 1,536 bytes each
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[:cut])
    found = listed(tmp_path / "cut.tar")
    assert keys(found) == [str(n) for n in range(2) if 1536 * n + 1112 <= cut]
    assert any("cut short" in reason for reason in reasons(found).values())


def test_a_shard_with_a_damaged_header(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {f"{n}.png": os.urandom(600) for n in range(3)})
    content = bytearray(shard.read_bytes())
    content[1536:1600] = b"\xff" * 64
    shard.write_bytes(content)
    found = listed(shard)
    assert keys(found) == ["0"]
    assert reasons(found) == {"s.tar": "the shard is damaged or cut short: what follows in it was not read"}


def test_what_has_changed_since_it_was_listed_is_not_read(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "s.tar", {"0.png": png(0)})
    table = write_table(tmp_path / "t.parquet", {"image": [png(0)]})
    found = listed(shard, table)
    write_shard(shard, {"0.txt": b"longer " * 100, "0.png": png(1)})
    table.unlink()
    changed, gone = contents(found)
    assert "has changed since it was listed" in changed
    assert "No such file" in gone


def test_many_sources_of_each_kind_are_read_in_order(tmp_path: Path, picture: Callable[..., Image.Image]) -> None:
    put(tmp_path, "0.png", "4.png")
    write_table(tmp_path / "1.parquet", {"image": [png(10), png(11), png(12)]}, rows=1)
    write_shard(tmp_path / "2.tar", {"a.png": png(20), "b.png": png(21)})
    write_table(tmp_path / "3.parquet", {"bytes": [png(30)]})
    assert contents(listed(tmp_path)) == [png(n) for n in (0, 10, 11, 12, 20, 21, 30, 1)]
