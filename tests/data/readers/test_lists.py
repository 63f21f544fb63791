"""Text files that list pictures: Food-101, Pets, Aircraft, SUN397, and VOC."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightword.data.labelled import Labelled
from sightword.errors import RequestError
from sightword.evaluation.spec import Spec
from sightword.evaluation.suites import all_specs
from tests.data.readers.shared import picture_bytes, shows, write

CASES = {
    "food101": (
        {"meta/train.txt": "apple_pie/1\npizza/2\n", "meta/test.txt": "pizza/3\napple_pie/4\n"},
        ["images/pizza/3.jpg", "images/apple_pie/4.jpg"],
        ("apple pie", "pizza"),
    ),
    "pets": (
        {"annotations/trainval.txt": "Abyssinian_1 1 1 1\nbasset_hound_2 2 2 1\n",
         "annotations/test.txt": "basset_hound_10 2 2 1\nAbyssinian_20 1 1 1\n"},
        ["images/basset_hound_10.jpg", "images/Abyssinian_20.jpg"],
        ("Abyssinian", "basset hound"),
    ),
    "aircraft": (
        {"data/images_variant_train.txt": "0000001 707-320\n", "data/images_variant_val.txt": "0000002 A310\n",
         "data/images_variant_test.txt": "1514522 A310\n0747566 707-320\n"},
        ["data/images/1514522.jpg", "data/images/0747566.jpg"],
        ("707-320", "A310"),
    ),
    "dtd": (
        {"labels/train1.txt": "banded/banded_1.jpg\n", "labels/val1.txt": "braided/braided_1.jpg\n",
         "labels/test1.txt": "braided/braided_2.jpg\nbanded/banded_2.jpg\n"},
        ["images/braided/braided_2.jpg", "images/banded/banded_2.jpg"],
        ("banded", "braided"),
    ),
    "sun397": (
        {"Training_01.txt": "/a/abbey/sun_a.jpg\n", "Testing_01.txt":
         "/p/apartment_building/outdoor/sun_b.jpg\n/a/abbey/sun_c.jpg\n"},
        ["p/apartment_building/outdoor/sun_b.jpg", "a/abbey/sun_c.jpg"],
        ("abbey", "apartment building outdoor"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_lists_of_the_authors(tmp_path: Path, name: str) -> None:
    files, images, classes = CASES[name]
    for file, text in files.items():
        write(tmp_path / file, text)
    for number, image in enumerate(images):
        write(tmp_path / image, picture_bytes(number, "jpeg"))
    reader = next(layout for layout in all_specs()[name].layouts if layout.splits(tmp_path))
    data = reader.read(tmp_path, "test", name)
    assert isinstance(data, Labelled)
    assert data.classes == classes
    assert data.labels.tolist() == [1, 0]
    assert list(data.images) == [str(tmp_path / image) for image in images]


def test_a_line_that_is_no_picture(tmp_path: Path) -> None:
    write(tmp_path / "annotations/test.txt", "Abyssinian_1 1 1 1\nwhat\n")
    (reader,) = all_specs()["pets"].layouts
    with pytest.raises(RequestError, match=r"test\.txt: line 2 is not as in the original list: 'what'"):
        reader.read(tmp_path, "test", "pets")
    (tmp_path / "annotations/test.txt").write_text("Abyssinian_1 1 1 1\nbeagle_1 1 1 1\n")
    with pytest.raises(RequestError, match="has no list of the split 'train'"):
        reader.read(tmp_path, "train", "pets")


@pytest.fixture
def voc(tmp_path: Path) -> Spec:
    for name, text in {
        "aeroplane_test": "000001  1\n000002 -1\n000004  0\n",
        "tvmonitor_test": "000001  1\n000002  0\n000004  1\n",
        "aeroplane_train": "000005 -1\n",
        "tvmonitor_train": "000005  1\n",
        "test": "000001\n000002\n000004\n",
    }.items():
        write(tmp_path / f"VOCdevkit/VOC2007/ImageSets/Main/{name}.txt", text)
    write(tmp_path / "VOCdevkit/VOC2007/JPEGImages/000001.jpg", picture_bytes(1, "jpeg"))
    return all_specs()["voc2007"]


def test_voc_has_several_labels_a_picture_and_difficult_ones_do_not_count(tmp_path: Path, voc: Spec) -> None:
    (reader,) = voc.layouts
    assert reader.splits(tmp_path) == ("train", "test")
    data = reader.read(tmp_path, "test", "voc2007")
    assert isinstance(data, Labelled)
    assert data.classes == ("aeroplane", "tvmonitor")
    assert data.labels.tolist() == [[True, True], [False, False], [False, True]]
    assert data.ignored is not None
    assert data.ignored.tolist() == [[False, False], [False, True], [True, False]]
    assert list(data.keys) == ["000001", "000002", "000004"]


def test_voc_lists_that_do_not_belong_together(tmp_path: Path, voc: Spec) -> None:
    (reader,) = voc.layouts
    lists = tmp_path / "VOCdevkit/VOC2007/ImageSets/Main"
    (lists / "tvmonitor_test.txt").write_text("000001 1\n000003 -1\n000004 1\n")
    with pytest.raises(RequestError, match=r"tvmonitor_test\.txt: lists other pictures"):
        reader.read(tmp_path, "test", "voc2007")
    (lists / "tvmonitor_test.txt").write_text("000001 1\n000002 2\n000004 1\n")
    with pytest.raises(RequestError, match="line 2 is not a picture and one of -1, 0, 1"):
        reader.read(tmp_path, "test", "voc2007")


def test_pictures_are_found_where_the_list_says(tmp_path: Path, voc: Spec) -> None:
    (reader,) = voc.layouts
    data = reader.read(tmp_path, "test", "voc2007")
    assert str(data.images[0]).endswith("JPEGImages/000001.jpg")
    assert not shows(data.images[0], 2)
