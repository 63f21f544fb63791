"""Folders of classes, laid out as ImageNet and ObjectNet are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sightword.data.readers import ClassFolders
from sightword.errors import ImageError, RequestError
from tests.data.readers.shared import picture_bytes, shows, write

IMAGENET = ClassFolders(parts={"train": "train", "test": "val"})


def test_class_folders_with_three_splits(tmp_path: Path) -> None:
    for number, place in enumerate(
        ["train/tabby_cat/a.png", "train/dog/b.PNG", "valid/dog/c.png", "test/tabby_cat/d.png"]
    ):
        write(tmp_path / place, picture_bytes(number))
    write(tmp_path / "test/tabby_cat/.hidden.png", b"")
    write(tmp_path / "test/tabby_cat/notes.txt", "not a picture")
    write(tmp_path / "test/tabby_cat/deeper/e.png", picture_bytes(4))
    reader = ClassFolders()
    assert reader.splits(tmp_path) == ("train", "validation", "test")
    test = reader.read(tmp_path, "test", "pets")
    # The class that the test lacks keeps its number.
    assert test.classes == ("dog", "tabby cat")
    assert test.labels.tolist() == [1, 1]
    assert list(test.keys) == ["tabby_cat/d.png", "tabby_cat/deeper/e.png"]
    assert shows(test.images[0], 3)
    assert reader.read(tmp_path, "validation", "pets").labels.tolist() == [0]
    assert reader.splits(tmp_path / "nothing") == ()


def test_folders_that_are_numbers_are_ordered_by_value_and_called_by_a_file(tmp_path: Path) -> None:
    for folder in ("0", "1", "2", "10"):
        write(tmp_path / folder / "a.png", picture_bytes(int(folder)))
    reader = ClassFolders(whole="test")
    assert reader.read(tmp_path, "test", "v2").classes == ("0", "1", "2", "10")
    write(tmp_path / "classnames.txt", "tench\ngoldfish\nshark\ncock\n")
    data = reader.read(tmp_path, "test", "v2")
    assert data.classes == ("tench", "goldfish", "shark", "cock")
    assert shows(data.images[3], 10)
    write(tmp_path / "classnames.txt", "tench\ngoldfish\n")
    with pytest.raises(RequestError, match="names 2 classes, and there are 4"):
        reader.read(tmp_path, "test", "v2")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("LOC_synset_mapping.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n"),
        ("words.txt", "n01440764\ttench, Tinca tinca\nn01443537\tgoldfish\nn09999999\tmore\n"),
        ("README.txt", "ImageNet-R\n\nthe classes:\nn01440764 tench\nn01443537 goldfish\n"),
    ],
)
def test_imagenet_with_names_of_its_synsets(tmp_path: Path, file: str, text: str) -> None:
    write(tmp_path / "val/n01443537/ILSVRC2012_val_00000236.JPEG", picture_bytes(0, "jpeg"))
    write(tmp_path / "val/n01440764/ILSVRC2012_val_00000293.JPEG", picture_bytes(1, "jpeg"))
    assert IMAGENET.splits(tmp_path) == ("test",)
    with pytest.raises(RequestError, match=r"what the class n01440764 is called: put LOC_synset_mapping.txt"):
        IMAGENET.read(tmp_path, "test", "imagenet")
    write(tmp_path / file, text)
    data = IMAGENET.read(tmp_path, "test", "imagenet")
    assert data.classes == ("tench", "goldfish")
    assert data.labels.tolist() == [0, 1]
    with pytest.raises(RequestError, match="has no folder for the split 'train'"):
        IMAGENET.read(tmp_path, "train", "imagenet")


def test_objectnet_names_its_folders_and_leaves_out_what_imagenet_lacks(tmp_path: Path) -> None:
    for number, folder in enumerate(["alarm_clock", "basket", "spatula_2", "spatula"]):
        write(tmp_path / "images" / folder / "x.png", picture_bytes(number))
    names = {"alarm_clock": "Alarm clock", "basket": "Basket", "spatula": "Spatula", "spatula_2": "Spatula"}
    write(tmp_path / "mappings/folder_to_objectnet_label.json", json.dumps(names))
    write(tmp_path / "mappings/objectnet_to_imagenet_1k.json", json.dumps({"Alarm clock": "a", "Spatula": "b"}))
    reader = ClassFolders(
        whole="test",
        within="images",
        names="mappings/folder_to_objectnet_label.json",
        only="mappings/objectnet_to_imagenet_1k.json",
    )
    data = reader.read(tmp_path, "test", "objectnet")
    assert data.classes == ("Alarm clock", "Spatula")
    assert data.labels.tolist() == [0, 1, 1]
    write(tmp_path / "images/broom/x.png", picture_bytes(9))
    with pytest.raises(RequestError, match="does not name the folder 'broom'"):
        reader.read(tmp_path, "test", "objectnet")
    write(tmp_path / "mappings/folder_to_objectnet_label.json", "[]")
    with pytest.raises(RequestError, match="holds no JSON object"):
        reader.read(tmp_path, "test", "objectnet")


def test_folders_of_another_layout_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "test/0.tar", b"")
    assert ClassFolders(whole="test").splits(tmp_path) == ()
    assert ClassFolders().splits(tmp_path) == ()


def test_empty_folders_and_pictures_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "test/a").mkdir(parents=True)
    (tmp_path / "test/b").mkdir()
    with pytest.raises(RequestError, match=r"own \(test\): holds no picture"):
        ClassFolders().read(tmp_path, "test", "own")
    write(tmp_path / "test/a/x.png", b"no picture")
    # It is for whoever opens it to say so.
    with pytest.raises(ImageError, match="is not an image"):
        shows(ClassFolders().read(tmp_path, "test", "own").images[0], 0)
