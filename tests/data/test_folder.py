"""Pairs from a folder or a table: what has both halves is found, what lacks one is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sightword.data.folder import read_pairs
from sightword.errors import RequestError

# Pairs are listed without a look inside the pictures.
PICTURE = b"not looked at"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = {
        "b.png": PICTURE,
        "b.txt": b"  a  blue\nbird \n",
        "sub/a.JPG": PICTURE,
        "sub/a.txt": b"a red fox",
        "two.dots.webp": PICTURE,
        "two.dots.txt": b"dots",
        "shouting.png": PICTURE,
        "shouting.TXT": b"LOUD",
        "blank.png": PICTURE,
        "blank.txt": b" \n\t ",
        "lonely.png": PICTURE,
        "orphan.txt": b"no picture",
        "notes.md": b"not a pair",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_a_folder_of_pictures_and_texts(folder: Path) -> None:
    found = read_pairs(folder)
    assert {pair.key: pair.texts for pair in found.pairs} == {
        "b.png": ("a blue bird",),
        "sub/a.JPG": ("a red fox",),
        "two.dots.webp": ("dots",),
        "shouting.png": ("LOUD",),
    }
    assert all(Path(pair.image).is_file() for pair in found.pairs)
    assert [pair.key for pair in found.pairs] == [pair.key for pair in read_pairs(str(folder)).pairs]


def test_half_pairs_are_listed_with_their_reason(folder: Path) -> None:
    assert {skipped.key: skipped.reason for skipped in read_pairs(folder).skipped} == {
        "blank.png": "its text is empty",
        "lonely.png": "has no .txt beside it",
        "orphan.txt": "has no image beside it",
    }


def test_text_that_is_not_utf8_and_text_with_a_byte_order_mark(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").write_bytes(PICTURE)
    (tmp_path / "a.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "b.txt").write_bytes("cat".encode("utf-8-sig"))
    assert [pair.texts[0] for pair in read_pairs(tmp_path).pairs] == ["caf\ufffd", "cat"]


@pytest.mark.parametrize("content", [{}, {"a.png": PICTURE}, {"a.txt": b"text"}, {"a.png": PICTURE, "a.txt": b""}])
def test_a_folder_without_pairs_is_refused(tmp_path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(RequestError, match=r"no image-text pairs") as caught:
        read_pairs(tmp_path)
    assert str(tmp_path) in str(caught.value)
    if content:
        assert "1 skipped" in str(caught.value)


# Tables.


def write_table(file: Path, columns: dict[str, list[Any]]) -> Path:
    if file.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(pyarrow.table(columns), file)
        return file
    separator = "\t" if file.suffix == ".tsv" else ","
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    file.write_text("".join(separator.join("" if cell is None else cell for cell in row) + "\n" for row in rows))
    return file


@pytest.fixture(params=["csv", "tsv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"table.{request.param}"


@pytest.mark.parametrize("names", [("path", "text"), ("filepath", "caption"), ("image", "title")])
def test_a_table_of_paths_and_texts(table: Path, names: tuple[str, str]) -> None:
    pictures = table.parent / "pictures"
    pictures.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (pictures / name).write_bytes(PICTURE)
    absolute = str(pictures / "c.png")
    paths = ["pictures/a.png", "pictures/b.png", "gone.png", None, absolute, "pictures"]
    texts = ["a  red fox", None, "x", "y", "a cat", "z"]
    found = read_pairs(write_table(table, {"number": list("123456"), names[0]: paths, names[1]: texts}))
    assert [(pair.key, pair.texts) for pair in found.pairs] == [
        ("pictures/a.png", ("a red fox",)),
        (absolute, ("a cat",)),
    ]
    assert [(skipped.key, skipped.reason) for skipped in found.skipped] == [
        ("pictures/b.png", "its text is empty"),
        ("gone.png", "no such file"),
        ("row 4", "has no path"),
        ("pictures", "no such file"),
    ]


@pytest.mark.parametrize("columns", [{"path": ["a.png"]}, {"text": ["a"]}, {"Path": ["a.png"], "words": ["a"]}])
def test_a_table_without_the_columns_names_those_it_has(table: Path, columns: dict[str, list[str]]) -> None:
    with pytest.raises(RequestError, match=f"needs a column.*it has {', '.join(columns)}"):
        read_pairs(write_table(table, columns))


def test_a_table_without_rows_is_refused(table: Path) -> None:
    with pytest.raises(RequestError, match="no image-text pairs"):
        read_pairs(write_table(table, {"path": [], "text": []}))


def test_a_csv_as_spreadsheets_write_it(tmp_path: Path) -> None:
    # With a byte order mark, Windows line ends, quotes, and a short row.
    (tmp_path / "a.png").write_bytes(PICTURE)
    file = tmp_path / "t.csv"
    file.write_bytes('path,text\r\na.png,"a fox, ""red"""\r\na.png\r\n'.encode("utf-8-sig"))
    found = read_pairs(file)
    assert [pair.texts for pair in found.pairs] == [('a fox, "red"',)]
    assert [skipped.reason for skipped in found.skipped] == ["its text is empty"]


def test_a_csv_that_is_not_utf8_keeps_its_other_letters(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(PICTURE)
    (tmp_path / "t.csv").write_bytes("path,text\na.png,café noir\n".encode("latin-1"))
    assert read_pairs(tmp_path / "t.csv").pairs[0].texts == ("caf\ufffd noir",)


def test_a_quote_that_is_never_closed_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,text\na.png,"a fox\n' + "b.png,a cat\n" * 20_000)
    with pytest.raises(RequestError, match=r"t\.csv: line \d+: not a readable table"):
        read_pairs(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("missing", None, "no such file or folder"),
        ("missing.csv", None, "no such file or folder"),
        ("pairs.xlsx", b"PK", r"come from a folder, or from a \.csv"),
        ("empty.csv", b"", "it has none"),
        ("broken.parquet", b"PAR1 not really", "not a readable Parquet"),
        ("empty.parquet", b"", "not a readable Parquet"),
    ],
)
def test_a_path_that_is_no_source_is_refused(tmp_path: Path, name: str, content: bytes | None, reason: str) -> None:
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow")
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=reason) as caught:
        read_pairs(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
