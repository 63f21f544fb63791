"""Data sets in folders laid out as their authors publish them, through their specs: what is found, how many pictures
each split has, in which order the classes are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
from PIL import Image

from sightword.data.readers.birdsnap import Birdsnap
from sightword.data.readers.folder import ClassFolders
from sightword.data.readers.matlab import MatList
from sightword.errors import RequestError
from sightword.evaluation.suites import Missing, all_specs, locate, open_development
from tests.data.readers.shared import opened, picture_bytes, shows, splits, write

# Stanford Cars


def cars(root: Path, first: int = 1) -> None:
    """A struct array with an element a picture, and a cell of 196 names, as the devkit has them."""

    def annotations(rows: list[tuple[str, int]]) -> np.ndarray[Any, Any]:
        kinds = [(field, "O") for field in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]
        return np.array([[(39, 116, 569, 375, number, file) for file, number in rows]], kinds)

    devkit = root / "devkit"
    devkit.mkdir(parents=True)
    names = np.empty((1, 196), object)
    names[0] = [f"Maker Model {number} Sedan 2012" for number in range(196)]
    names[0, 0] = "AM General Hummer SUV 2000"
    scipy.io.savemat(devkit / "cars_meta.mat", {"class_names": names})
    scipy.io.savemat(
        devkit / "cars_train_annos.mat", {"annotations": annotations([("00001.jpg", 14), ("00002.jpg", first)])}
    )
    scipy.io.savemat(root / "cars_test_annos_withlabels.mat", {"annotations": annotations([("00001.jpg", 196)])},
                     do_compression=True)  # fmt: skip
    for number, file in enumerate(("cars_train/00001.jpg", "cars_train/00002.jpg", "cars_test/00001.jpg")):
        write(root / file, picture_bytes(number))


def test_stanford_cars(tmp_path: Path) -> None:
    cars(tmp_path / "cars")
    assert splits("cars", tmp_path) == ("train", "test")
    train, test = opened("cars", tmp_path, "train"), opened("cars", tmp_path)
    assert (train.labels.tolist(), test.labels.tolist(), list(train.keys)) == (
        [13, 0],
        [195],
        ["00001.jpg", "00002.jpg"],
    )
    assert (len(train.classes), train.classes[0]) == (196, "AM General Hummer SUV 2000")
    assert shows(train.images[1], 1)
    assert shows(test.images[0], 2)


def test_stanford_cars_in_one_file(tmp_path: Path) -> None:
    rows = [("car_ims/000001.jpg", 1, 0), ("car_ims/000002.jpg", 196, 1), ("car_ims/000003.jpg", 2, 0)]
    fields = [("relative_im_path", "O"), ("bbox_x1", "O"), ("class", "O"), ("test", "O")]
    names = np.empty((1, 196), object)
    names[0] = [f"car {number}" for number in range(196)]
    told = np.array([[(path, 1, number, np.uint8(test)) for path, number, test in rows]], fields)
    (tmp_path / "stanford_cars").mkdir()
    scipy.io.savemat(tmp_path / "stanford_cars/cars_annos.mat", {"annotations": told, "class_names": names})
    write(tmp_path / "stanford_cars/car_ims/000002.jpg", picture_bytes(5))
    assert opened("cars", tmp_path, "train").labels.tolist() == [0, 1]
    data = opened("cars", tmp_path)
    assert data.labels.tolist() == [195]
    assert shows(data.images[0], 5)


def test_lists_of_cars_that_are_wrong(tmp_path: Path) -> None:
    cars(tmp_path / "cars", first=197)
    with pytest.raises(
        RequestError, match=r"1 labels are outside of the 196 classes; the first is 196, of .*00002\.jpg"
    ):
        opened("cars", tmp_path, "train")
    reader = all_specs()["cars"].layouts[0]
    assert isinstance(reader, MatList)
    root, annos = tmp_path / "cars", tmp_path / "cars/cars_test_annos_withlabels.mat"
    with pytest.raises(RequestError, match="has no list of the split 'validation'"):
        reader.read(root, "validation", "cars")
    # The devkit's own list of the test, which has no labels.
    scipy.io.savemat(annos, {"annotations": np.array([[("00001.jpg",)]], [("fname", "O")])})
    with pytest.raises(RequestError, match="a picture has no number in its field 'class'; it has fname"):
        opened("cars", tmp_path)
    scipy.io.savemat(annos, {"annotations": np.array([[(3, 4)]], [("fname", "O"), ("class", "O")])})
    with pytest.raises(RequestError, match="has no text in its field 'fname'"):
        opened("cars", tmp_path)
    scipy.io.savemat(annos, {"other": np.eye(2)})
    with pytest.raises(RequestError, match="has no struct 'annotations'"):
        opened("cars", tmp_path)
    whole = (root / "devkit/cars_train_annos.mat").read_bytes()
    for cut in range(0, len(whole), 97):
        annos.write_bytes(whole[:cut])
        with pytest.raises(RequestError, match=r"cut short|no MATLAB file|has no struct"):
            opened("cars", tmp_path)
    scipy.io.savemat(root / "devkit/cars_meta.mat", {"class_names": np.eye(2)})
    with pytest.raises(RequestError, match="has no names of classes"):
        opened("cars", tmp_path, "train")


# Birdsnap


def birdsnap(root: Path, species: int = 500) -> None:
    lines = [f"{n}\tBird {n}\tAvis {n}\tBird_{n}" for n in range(1, species + 1)]
    lines[1] = '2\tCooper\'s "Hawk"\tAccipiter cooperii\tCoopers_Hawk'
    write(root / "species.txt", "id\tcommon\tscientific\tdir\n" + "\n".join(reversed(lines)) + "\n")
    images = [("Bird_1/1.jpg", 1), ("Coopers_Hawk/2.jpg", 2), ("Coopers_Hawk/3.jpg", 2), ("Bird_500/4.jpg", 500)]
    rows = "".join(f"http://x/{path}\tmd5\t{path}\t{n}\t1\t2\t3\t4\tnull\n" for path, n in images)
    write(root / "images.txt", f"url\tmd5\tpath\tspecies_id\tbb_x1\tbb_y1\tbb_x2\tbb_y2\tback_x\n{rows}")
    write(root / "test_images.txt", "path\nCoopers_Hawk/2.jpg\nBird_500/4.jpg\n")
    for number, (path, _) in enumerate(images[:3]):
        write(root / "download/images" / path, picture_bytes(number))


def test_birdsnap_without_the_pictures_that_are_gone(tmp_path: Path) -> None:
    birdsnap(tmp_path / "birdsnap")
    assert splits("birdsnap", tmp_path) == ("train", "test")
    train, test = opened("birdsnap", tmp_path, "train"), opened("birdsnap", tmp_path)
    assert (list(train.keys), train.labels.tolist()) == (["Bird_1/1.jpg", "Coopers_Hawk/3.jpg"], [0, 1])
    assert (list(test.keys), test.labels.tolist()) == (["Coopers_Hawk/2.jpg"], [1])
    assert (len(test.classes), test.classes[1], test.classes[499]) == (500, 'Cooper\'s "Hawk"', "Bird 500")
    assert [(skip.key, skip.reason) for skip in test.skipped] == [("Bird_500/4.jpg", "is not in download/images")]
    assert "1 pictures were left out when the data were listed" in all_specs()["birdsnap"].remarks(test)
    assert shows(test.images[0], 1)


def test_lists_of_birds_that_are_wrong(tmp_path: Path) -> None:
    birdsnap(tmp_path / "birdsnap", species=499)
    with pytest.raises(RequestError, match="has 499 classes, and Birdsnap has 500"):
        opened("birdsnap", tmp_path)
    reader, root = Birdsnap(), tmp_path / "birdsnap"
    write(root / "images.txt", "url\tpath\nx\ty\n")
    with pytest.raises(RequestError, match=r"images\.txt: has no column 'species_id'; it has url, path"):
        reader.read(root, "test", "birdsnap")
    write(root / "species.txt", "id\tcommon\n1\ta\n3\tb\n")
    with pytest.raises(RequestError, match="the ids do not count the species from 1"):
        reader.read(root, "test", "birdsnap")
    write(root / "species.txt", "id\tcommon\none\ta\n")
    with pytest.raises(RequestError, match="'one' is no id of a species"):
        reader.read(root, "test", "birdsnap")


# Caltech-101, RESISC45, EuroSAT: one folder of classes, no splits


def test_caltech101_has_thirty_of_each_class_to_train_on(tmp_path: Path) -> None:
    root = tmp_path / "caltech-101/101_ObjectCategories"
    names = ["BACKGROUND_Google", "Faces", "Faces_easy", "airplanes", *(f"thing_{n:02}" for n in range(98))]
    for name in names:
        for number in range(31 if name == "Faces" else 32):
            write(root / name / f"image_{number:04}.jpg", b"")
    assert splits("caltech101", tmp_path) == ("train", "test")
    train, test = opened("caltech101", tmp_path, "train"), opened("caltech101", tmp_path)
    assert (len(train), len(test)) == (3060, 203)
    assert ({*train.counts.tolist()}, test.counts[:3].tolist()) == ({30}, [2, 1, 2])
    assert not {*train.keys} & {*test.keys}
    assert train.classes[:5] == ("background", "off-center face", "centered face", "airplane", "thing 00")
    assert "30 of each class in `train`, rest of each class in `test`, by a hash" in train.made
    assert opened("caltech101", tmp_path).keys == test.keys
    # The same on a machine where the data lie elsewhere.
    (tmp_path / "caltech-101").rename(tmp_path / "caltech101")
    assert opened("caltech101", tmp_path).keys == test.keys
    fit, choose = open_development(all_specs()["caltech101"], tmp_path)
    assert not {*test.keys} & ({*fit.keys} | {*choose.keys})
    for number in range(2):
        (tmp_path / f"caltech101/101_ObjectCategories/Faces/image_{number:04}.jpg").unlink()
    with pytest.raises(RequestError, match="Faces: has 29 pictures, too few for 30 in 'train'"):
        opened("caltech101", tmp_path)


def test_resisc45_and_eurosat(tmp_path: Path) -> None:
    for number in range(45):
        for picture in range(72):
            write(tmp_path / f"NWPU-RESISC45/class_{number:02}/{picture}.jpg", b"")
    assert (len(opened("resisc45", tmp_path, "train")), len(opened("resisc45", tmp_path))) == (3150, 90)
    folders = ["AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
               "Residential", "River", "SeaLake"]  # fmt: skip
    for layout in ("eurosat/2750", "EuroSAT_RGB"):
        for folder in folders:
            write(tmp_path / layout / folder / f"{folder}_1.jpg", picture_bytes(0))
        assert splits("eurosat", tmp_path) == ("train", "test")
        with pytest.raises(RequestError, match="AnnualCrop: has 1 pictures, too few for 1000 in 'train'"):
            opened("eurosat", tmp_path)
    assert {*all_specs()["eurosat"].rename} == {*folders}
    drawn = ClassFolders(within="2750", each={"train": 2, "test": 1})
    for number in range(5):
        for folder in folders:
            write(tmp_path / f"eurosat/2750/{folder}/{folder}_{number}.jpg", b"")
    train, test = (drawn.read(tmp_path / "eurosat", split, "own") for split in ("train", "test"))
    assert (len(train), len(test)) == (20, 10)
    with pytest.raises(RequestError, match="has no folder for the split 'validation'"):
        drawn.read(tmp_path / "eurosat", "validation", "own")


def test_tables_of_the_hub_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "resisc45/default/test-00000-of-00002.parquet", b"")
    assert isinstance(locate(all_specs()["resisc45"], tmp_path), Missing)


# CLEVR and Hateful Memes


def clevr(root: Path, counts: dict[str, list[int]]) -> None:
    for part, numbers in counts.items():
        scenes = []
        for number, count in enumerate(numbers):
            file = f"CLEVR_{part}_{number:06}.png"
            scenes.append({"image_index": number, "image_filename": file, "objects": [{"shape": "cube"}] * count})
            write(root / f"CLEVR_v1.0/images/{part}/{file}", picture_bytes(count))
        write(root / f"CLEVR_v1.0/scenes/CLEVR_{part}_scenes.json", json.dumps({"info": {}, "scenes": scenes}))


def test_clevr_counts_objects(tmp_path: Path) -> None:
    clevr(tmp_path / "clevr", {"train": [3, 10, 4], "val": [7, 3]})
    assert splits("clevr", tmp_path) == ("train", "test")
    train, test = opened("clevr", tmp_path, "train"), opened("clevr", tmp_path)
    assert (train.labels.tolist(), test.labels.tolist()) == ([0, 7, 1], [4, 0])
    assert test.classes == ("3", "4", "5", "6", "7", "8", "9", "10")
    assert shows(test.images[0], 7)
    clevr(tmp_path / "clevr", {"val": [2, 5]})
    with pytest.raises(RequestError, match=r"1 labels are outside of the 3 classes; the first is -1, of .*val_000000"):
        opened("clevr", tmp_path)
    clevr(tmp_path / "clevr", {"val": [11, 5]})
    with pytest.raises(RequestError, match="has the label 8, and 8 classes are known"):
        opened("clevr", tmp_path)
    scenes = tmp_path / "clevr/CLEVR_v1.0/scenes/CLEVR_val_scenes.json"
    for wrong, told in (
        ('{"scenes": 3}', "'scenes' is no list"),
        (
            '{"scenes": [{"image_filename": "a.png"}]}',
            "record 1 has no 'image_filename' with a number or list 'objects'",
        ),
        ("[]", r"is no JSON of such records \(TypeError"),
        ('{"scenes": [', r"is no JSON of such records \(JSONDecodeError"),
    ):
        write(scenes, wrong)
        with pytest.raises(RequestError, match=told):
            opened("clevr", tmp_path)


@pytest.mark.parametrize("dev", ["dev", "dev_seen"])
def test_hateful_memes(tmp_path: Path, dev: str) -> None:
    root = tmp_path / "hateful_memes"
    rows = [(42953, 0), (23058, 1)]
    for part in ("train", dev):
        lines = [json.dumps({"id": n, "img": f"img/{n}.png", "label": label, "text": "so"}) for n, label in rows]
        write(root / f"{part}.jsonl", "\n".join(lines) + "\n")
    write(root / "img/23058.png", picture_bytes(4))
    assert splits("hateful_memes", tmp_path) == ("train", "test")
    data = opened("hateful_memes", tmp_path)
    assert (data.labels.tolist(), data.classes) == ([0, 1], ("meme", "hatespeech meme"))
    assert shows(data.images[1], 4)
    write(root / f"{dev}.jsonl", '{"id": 1, "img": "img/1.png", "text": "the test has no labels"}\n')
    with pytest.raises(RequestError, match="record 1 has no 'img' with a number or list 'label'"):
        opened("hateful_memes", tmp_path)


# FER 2013, UCF101


@pytest.mark.parametrize("file", ["fer2013.csv", "icml_face_data.csv"])
def test_fer2013(tmp_path: Path, file: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 48, 48), np.uint8)
    cells = [" ".join(map(str, picture.reshape(-1).tolist())) for picture in pixels]
    parts = ["Training", "PublicTest", "PrivateTest"]
    if file == "fer2013.csv":
        rows = ["emotion,pixels,Usage"] + [f"{n},{cells[n]},{parts[n]}" for n in range(3)]
    else:
        rows = ["emotion, Usage, pixels"] + [f"{n},{parts[n]},{cells[n]}" for n in range(3)]
    rows += [row.replace("0,", "6,", 1) for row in rows[1:2]]
    table = write(tmp_path / "fer2013" / file, "\n".join(rows) + "\n")
    assert splits("fer2013", tmp_path) == ("train", "validation", "test")
    data = opened("fer2013", tmp_path)
    assert (data.labels.tolist(), len(opened("fer2013", tmp_path, "train"))) == ([2], 2)
    assert data.classes == ("angry", "disgusted", "fearful", "happy", "sad", "surprised", "neutral")
    assert np.array_equal(np.asarray(data.images[0]), pixels[2])
    for cell in (cells[2][:-1] + "999", cells[2] + " 7", "", cells[2].replace(" ", ";")):
        table.write_text("\n".join(rows).replace(cells[2], cell))
        with pytest.raises(RequestError, match="line 4 cannot be read"):
            opened("fer2013", tmp_path)
    table.write_text("pixels,Usage\n1,PrivateTest\n")
    with pytest.raises(RequestError, match="has no column 'emotion'; it has pixels, Usage"):
        opened("fer2013", tmp_path)


def test_ucf101s_middle_frames(tmp_path: Path) -> None:
    root = tmp_path / "ucf101"
    actions = [
        "ApplyEyeMakeup",
        "HandstandPushups",
        "YoYo",
        *(f"Act{chr(65 + n // 26)}{chr(97 + n % 26)}" for n in range(98)),
    ]
    train = "".join(f"{action}/v_{action}_g08_c01.avi {n}\n" for n, action in enumerate(actions, 1))
    write(root / "ucfTrainTestlist/trainlist01.txt", train)
    write(root / "ucfTrainTestlist/testlist01.txt", "HandstandPushups/v_HandStandPushups_g01_c01.avi\r\n")
    write(root / "UCF-101-midframes/Handstand_Pushups/v_HandStandPushups_g01_c01.jpg", picture_bytes(3))
    assert splits("ucf101", tmp_path) == ("train", "test")
    data = opened("ucf101", tmp_path)
    assert [data.classes[label] for label in data.labels] == ["Handstand Pushups"]
    assert shows(data.images[0], 3)
    assert {"Apply Eye Makeup", "Yo Yo"} <= {*opened("ucf101", tmp_path, "train").classes}


def test_one_class_only(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "\n".join(json.dumps({"img": f"{n}.png", "label": 0}) for n in range(2)))
    records = all_specs()["hateful_memes"].layouts[0].model_copy(update={"parts": {"test": "a.json"}})
    with pytest.raises(RequestError, match="the only class is '0', and there is nothing to tell apart"):
        records.read(tmp_path, "test", "own")
    for folder in ("only/a", "only/b"):
        write(tmp_path / folder / "0.ppm", b"")
    Image.new("RGB", (2, 2)).save(tmp_path / "only/a/0.ppm")
    data = ClassFolders(within="only", each={"train": 1}).read(tmp_path, "train", "own")
    assert len(data) == 2
