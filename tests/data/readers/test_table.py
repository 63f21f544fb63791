"""CSV tables of pictures and labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightword.data.readers import Table
from sightword.errors import RequestError
from tests.data.readers.shared import picture_bytes, shows, write


def pictures(root: Path, count: int) -> None:
    for number in range(count):
        write(root / f"images/{number}.png", picture_bytes(number))


def test_a_table_for_each_split(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    write(tmp_path / "train.csv", "\ufeffpath,label\nimages/0.png,dog\nimages/1.png,cat\n")
    write(tmp_path / "test.csv", "label,path\ncat,images/2.png\n")
    reader = Table()
    assert reader.splits(tmp_path) == ("train", "test")
    data = reader.read(tmp_path, "test", "pets")
    # A class that this table lacks is in the other one.
    assert (data.classes, data.labels.tolist(), list(data.keys)) == (("cat", "dog"), [0], ["images/2.png"])
    assert shows(data.images[0], 2)


def test_one_table_with_a_column_of_splits(tmp_path: Path) -> None:
    pictures(tmp_path, 3)
    write(tmp_path / "all.tsv", "image\tclass\tsplit\nimages/0.png\tdog\ttrain\nimages/1.png\tcat\tval\n"
                                "images/2.png\tdog\ttest\n")  # fmt: skip
    reader = Table(file="all.tsv")
    assert reader.splits(tmp_path) == ("train", "validation", "test")
    assert reader.read(tmp_path, "validation", "pets").labels.tolist() == [0]
    assert Table(file="none.csv").splits(tmp_path) == ()


def test_a_table_without_splits_is_the_test_and_its_columns_can_be_named(tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    write(tmp_path / "Test.csv", "Filename;ClassId\nimages/0.png;3\nimages/1.png;0\n")
    reader = Table(file="Test.csv", image="Filename", label="ClassId", separator=";")
    assert reader.splits(tmp_path) == ("test",)
    data = reader.read(tmp_path, "test", "gtsrb")
    assert (data.classes, data.labels.tolist()) == (("0", "1", "2", "3"), [3, 0])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\n", "holds no picture"),
        ("path,label\na.png,x\nb.png,\n", "line 3 lacks its label"),
        ("path,label\na.png,x\n,y\n", "line 3 lacks its path"),
        ("path,label\na.png,x\na.png,y\n", r"two pictures are called a\.png"),
        ("path,label\na.png,-1\nb.png,0\n", "has the label -1; labels that are numbers begin at 0"),
        ("path,label\na.png,0\nb.png,20261122\n", "the label 20261122 is no number of a class"),
        ("path,label\na.png,cat\nb.png,cat\n", "the only class is 'cat'"),
        ("path,text\na.png,cat\n", r"has no column of labels \(one of label, cls, class.*; it has path, text"),
        ("", "has no column of pictures .*; it has none"),
        ("path,label\na.png,\"cat\n", "not a readable table"),
    ],
)  # fmt: skip
def test_tables_that_are_wrong(tmp_path: Path, text: str, told: str) -> None:
    write(tmp_path / "test.csv", text)
    with pytest.raises(RequestError, match=told):
        Table().read(tmp_path, "test", "own")
