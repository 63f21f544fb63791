"""GTSRB and KITTI in folders laid out as their authors publish them, through their specs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sightword.errors import RequestError
from tests.conftest import make_picture
from tests.data.readers.shared import opened, picture_bytes, shows, splits, write

# GTSRB


def gtsrb(root: Path, classes: int = 43) -> None:
    for number in range(classes):
        folder = root / f"GTSRB/Training/{number:05}"
        folder.mkdir(parents=True)
        make_picture(12, 10, number).save(folder / "00000_00000.ppm")
        write(folder / f"GT-{number:05}.csv", f"Filename;Width;ClassId\n00000_00000.ppm;12;{number}\n")
    for number in range(2):
        file = write(root / f"GTSRB/Final_Test/Images/{number:05}.ppm", b"")
        make_picture(12, 10, 50 + number).save(file)
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId\r\n"
    write(root / "GT-final_test.csv", f"{head}00000.ppm;53;54;6;5;48;49;16\r\n00001.ppm;42;45;5;5;36;40;1\r\n")


def test_gtsrb(tmp_path: Path) -> None:
    gtsrb(tmp_path / "gtsrb")
    assert splits("gtsrb", tmp_path) == ("train", "test")
    train, test = opened("gtsrb", tmp_path, "train"), opened("gtsrb", tmp_path)
    assert train.labels.tolist() == [*range(43)]
    assert (test.labels.tolist(), train.classes == test.classes) == ([16, 1], True)
    assert (test.classes[14], test.classes[1]) == ("stop", "red and white circle 30 kph speed limit")
    assert shows(train.images[7], 7)
    assert shows(test.images[1], 51)
    write(tmp_path / "gtsrb/classnames.txt", "\n".join(f"sign {number}" for number in range(43)))
    assert opened("gtsrb", tmp_path, "train").classes[42] == "sign 42"


def test_signs_that_are_wrong(tmp_path: Path) -> None:
    gtsrb(tmp_path / "gtsrb")
    root = tmp_path / "gtsrb"
    write(root / "GT-final_test.csv", "Filename;ClassId\n00000.ppm;43\n")
    with pytest.raises(RequestError, match="has the label 43, and 43 classes are known"):
        opened("gtsrb", tmp_path)
    write(root / "GT-final_test.csv", "Filename;Width\n00000.ppm;43\n")
    with pytest.raises(RequestError, match="has no column 'ClassId'"):
        opened("gtsrb", tmp_path)
    (root / "GTSRB/Training/00013").rename(root / "GTSRB/Training/00099")
    with pytest.raises(RequestError, match="the folder '00014' is out of order"):
        opened("gtsrb", tmp_path, "train")


# KITTI


def kitti(root: Path, distances: list[str], drives: int = 30) -> None:
    """A picture for each of the objects; they were shuffled, and are of so many drives."""
    lines = [f"2011_09_26 2011_09_26_drive_{number % drives:04}_sync {number:010}" for number in range(len(distances))]
    order = np.random.default_rng(0).permutation(len(distances)) + 1
    write(root / "mapping/train_mapping.txt", "\n".join(lines) + "\n")
    write(root / "mapping/train_rand.txt", ",".join(map(str, order)))
    for number, objects in enumerate(distances):
        write(root / f"training/label_2/{number:06}.txt", objects)
        write(root / f"training/image_2/{number:06}.png", picture_bytes(number))


def car(metres: float, kind: str = "Car") -> str:
    return f"{kind} 0.00 0 -1.58 587.01 173.33 614.12 200.12 1.65 1.67 3.64 -0.65 1.71 {metres} -1.59\n"


def test_kittis_closest_vehicle(tmp_path: Path) -> None:
    objects = [
        car(46.7) + car(7.99),
        car(8.01, "Truck") + car(3, "Pedestrian"),
        car(20.5, "Van"),
        car(-1000, "DontCare") + car(2, "Cyclist"),
    ]
    kitti(tmp_path / "kitti", objects * 30)
    assert splits("kitti", tmp_path) == ("train", "validation", "test")
    found = {split: opened("kitti", tmp_path, split) for split in ("train", "validation", "test")}
    # Three drives of thirty are held out, twice, and no drive is in two splits.
    assert {split: len(data) for split, data in found.items()} == {"train": 96, "validation": 12, "test": 12}
    lines = (tmp_path / "kitti/mapping/train_mapping.txt").read_text().splitlines()
    order = [int(place) for place in (tmp_path / "kitti/mapping/train_rand.txt").read_text().split(",")]
    drives = {split: {lines[order[int(key[:6])] - 1].split()[1] for key in data.keys} for split, data in found.items()}
    assert sum(map(len, drives.values())) == 30
    # As numpy's generator of TensorFlow Datasets draws them from the sorted names of the drives.
    names = [f"2011_09_26_drive_{number:04}_sync" for number in range(30)]
    np.random.seed(123)
    assert drives["test"] == {*np.random.choice(names, 3, replace=False)}
    assert drives["validation"] == {*np.random.choice(sorted({*names} - drives["test"]), 3, replace=False)}
    for data in found.values():
        assert [int(key[:6]) % 4 for key in data.keys] == data.labels.tolist()
        assert data.classes[3] == "a photo i took with no car."
    assert shows(found["test"].images[0], int(found["test"].keys[0][:6]))


def test_roads_that_are_wrong(tmp_path: Path) -> None:
    root = tmp_path / "kitti"
    kitti(root, [car(5)] * 12, drives=12)
    (root / "mapping").rename(tmp_path / "away")
    with pytest.raises(RequestError, match=r"lacks mapping/train_mapping\.txt or .*unpack devkit_object\.zip there"):
        opened("kitti", tmp_path)
    (root / "devkit_object").mkdir()
    (tmp_path / "away").rename(root / "devkit_object/mapping")
    assert len(opened("kitti", tmp_path)) == 1
    write(root / "devkit_object/mapping/train_rand.txt", "1,2,13")
    with pytest.raises(RequestError, match=r"does not tell KITTI's pictures \(13 is no line of train_mapping\.txt\)"):
        opened("kitti", tmp_path)
    write(root / "devkit_object/mapping/train_rand.txt", "1,2")
    with pytest.raises(RequestError, match="tells of 2 drives, too few"):
        opened("kitti", tmp_path)
    write(root / "devkit_object/mapping/train_rand.txt", "1,2,3,4")
    for number in range(4):
        write(root / f"training/label_2/{number:06}.txt", "Car 0.00 0\n")
    with pytest.raises(RequestError, match="line 1 is no object of KITTI's"):
        opened("kitti", tmp_path)
