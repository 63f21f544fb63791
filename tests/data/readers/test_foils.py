"""Questions about pictures and long captions, in folders that are laid out as their authors' are."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightword.data.choices import Choice, Choices
from sightword.data.images import open_image
from sightword.data.labelled import Captioned
from sightword.data.readers.long_captions import first_of_list
from sightword.errors import RequestError
from sightword.evaluation.suites import Missing, Place, all_specs, locate, open_split
from tests.conftest import make_picture
from tests.data.readers.shared import picture_bytes, write


def asked(name: str, root: Path, split: Any = "test") -> Choices:
    data = open_split(all_specs()[name], root, split)
    assert isinstance(data, Choices)
    return data


def told(name: str, root: Path) -> Captioned:
    data = open_split(all_specs()[name], root, "test")
    assert isinstance(data, Captioned)
    return data


def right(one: Choice) -> str:
    return one.texts[one.answer]


def table(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, [*rows[0]])
        writer.writeheader()
        writer.writerows(rows)


def pictures(folder: Path, names: Sequence[str]) -> None:
    for seed, name in enumerate(names):
        write(folder / name, picture_bytes(seed, "jpeg" if name.endswith("jpg") else "png"))


COCO = ["000000000139.jpg", "000000000285.jpg"]


def mcq(**other: str) -> dict[str, str]:
    row = {
        "image_path": f"data/coco/images/val2017/{COCO[0]}",
        "correct_answer": "0",
        "caption_0": "A chair, but no dog, is in this image.",
        "caption_1": "A dog is shown, but no table.",
        "caption_2": "A dog is shown.",
        "caption_3": "There is no chair, “no” at all.",
        "correct_answer_template": "hybrid",
    }
    return row | other


def test_negbench_questions(tmp_path: Path) -> None:
    root = tmp_path / "negbench"
    rows = [mcq(), mcq(caption_0="No dog here", correct_answer_template="negative")]
    rows.append(mcq(image_path=f"elsewhere/{COCO[1]}", correct_answer_template="positive"))
    table(root / "images/COCO_val_mcq_llama3.1_rephrased.csv", rows)
    place = locate(all_specs()["negbench_coco"], tmp_path)
    assert isinstance(place, Missing)
    assert "its pictures are not there; looked for in" in place.reason
    assert "val2017.zip" in place.get
    pictures(tmp_path / "coco/val2017", COCO)
    data = asked("negbench_coco", tmp_path)
    assert data.keys == COCO
    assert [one.images[0] for one in data.questions] == [0, 0, 1]
    assert data.kinds == ("hybrid", "negation", "affirmation")
    assert [right(one) for one in data.questions] == [row["caption_0"] for row in rows]
    first = data.questions[0]
    assert dict(zip(first.texts, first.kinds, strict=True)) == {
        rows[0]["caption_0"]: "hybrid",
        rows[0]["caption_1"]: "hybrid",
        rows[0]["caption_2"]: "affirmation",
        rows[0]["caption_3"]: "negation",
    }
    assert open_image(data.images[1]).size == (12, 10)
    assert isinstance(locate(all_specs()["negbench_voc"], tmp_path), Missing)
    (root / "images").rename(root / "csv")
    (root / "csv/COCO_val_mcq_llama3.1_rephrased.csv").rename(root / "VOC2007_mcq_llama3.1_rephrased.csv")
    pictures(root / "VOCdevkit/VOC2007/JPEGImages", COCO)
    assert len(asked("negbench_voc", tmp_path).questions) == 3


@pytest.mark.parametrize("wrong", [{"correct_answer": "4"}, {"correct_answer_template": "?"}, {"caption_2": ""}])
def test_a_table_that_is_not_negbenchs_is_told_by_its_line(tmp_path: Path, wrong: dict[str, str]) -> None:
    pictures(tmp_path / "negbench/val2017", COCO)
    table(tmp_path / "negbench/images/COCO_val_mcq_llama3.1_rephrased.csv", [mcq(), mcq(**wrong)])
    with pytest.raises(RequestError, match=r"rephrased.csv: entry 3 is not as in the original"):
        asked("negbench_coco", tmp_path)


def test_negbench_queries(tmp_path: Path) -> None:
    root = tmp_path / "negbench"
    pictures(root / "images/val2017", COCO)
    plain = {COCO[0]: ["a room", "it's a room"], COCO[1]: ["a bear"]}
    negated = {COCO[1]: ["no dog, but a bear"], COCO[0]: ["a room, no dog", "It's a room without a dog"]}
    files = ("COCO_val_retrieval.csv", "COCO_val_negated_retrieval_llama3.1_rephrased_affneg_true.csv")
    for file, found in zip(files, (plain, negated), strict=True):
        table(root / "images" / file, [{"filepath": f"x/{key}", "captions": repr(one)} for key, one in found.items()])
    data = told("negbench_retrieval", tmp_path)
    assert data.keys == COCO
    assert list(zip(data.kinds, data.image_of_text.tolist(), data.texts, strict=True)) == [
        ("plain", 0, "a room"),
        ("plain", 0, "it's a room"),
        ("plain", 1, "a bear"),
        ("negated", 0, "a room, no dog"),
        ("negated", 0, "It's a room without a dog"),
        ("negated", 1, "no dog, but a bear"),
    ]
    for wrong in ("__import__('os').abort()", "['a'", "[1]"):
        table(root / "images" / files[1], [{"filepath": COCO[0], "captions": wrong}])
        with pytest.raises(RequestError, match="line 2 is not as in the original"):
            told("negbench_retrieval", tmp_path)
    table(root / "images" / files[1], [{"filepath": COCO[0], "captions": "['a']"}])
    with pytest.raises(RequestError, match=f"of other pictures; only one has {COCO[1]}"):
        told("negbench_retrieval", tmp_path)
    (root / "images" / files[0]).unlink()
    assert "has no images/COCO_val_retrieval.csv" in str(locate(all_specs()["negbench_retrieval"], tmp_path))


def test_cc_neg(tmp_path: Path) -> None:
    root = tmp_path / "ccneg_dataset"
    names = [f"image{number}.jpg" for number in range(5)]
    pictures(root / "ccneg_images/cc3m_subset_images_extracted_final", names)
    annotations = [
        {
            "json": {"caption": f"a dog, number {number}", "width": 12, "error_message": None, "exif": "{}"},
            "sop_data": {"negative-prompt": f"a dog, not number {number}", "scores": [0.5]},
        }
        for number in range(5)
    ]
    paths = [f"/workspace/datasets/ccneg/{name}" for name in names]
    record = {"image_paths": paths, "annotations": annotations, "num_ops": {1: torch.arange(3), 2: [3, 4]}}
    torch.save(record, root / "ccneg_preprocessed.pt")
    spec = all_specs()["cc_neg"]
    (reader,) = spec.layouts
    assert len(asked("cc_neg", tmp_path)) == 5
    few = spec.model_copy(update={"layouts": (reader.model_copy(update={"count": 2}),)})
    test, train = (open_split(few, tmp_path, split) for split in ("test", "train"))
    assert isinstance(test, Choices)
    assert isinstance(train, Choices)
    assert (test.keys, train.keys) == (names[3:], names[:3])
    assert [right(one) for one in test.questions] == ["a dog number 3", "a dog number 4"]
    assert {*test.questions[0].texts} == {"a dog number 3", "a dog not number 3"}
    assert test.kinds == ("presence",)

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "touched",)

    torch.save({**record, "annotations": Hostile()}, root / "ccneg_preprocessed.pt")
    with pytest.raises(RequestError, match="is not CC-Neg's file of captions"):
        asked("cc_neg", tmp_path)
    assert not (tmp_path / "touched").exists()
    write(root / "ccneg_preprocessed.pt", b"something else")
    with pytest.raises(RequestError, match="is not CC-Neg's file of captions"):
        asked("cc_neg", tmp_path)


def test_negrefcocog(tmp_path: Path) -> None:
    root = tmp_path / "negrefcocog"
    name = "COCO_train2014_000000071271.jpg"
    (root / "coco_images/train2014").mkdir(parents=True)
    make_picture(64, 48).save(root / "coco_images/train2014" / name, quality=95)
    boxes = [[30.4, 0, 33.57, 48], [0, 0, 42.9, 48]]
    phrases = ["a man without glasses", "the man on the right not wearing a hat", "a man with no hat", "nobody's chair"]
    items = [{"image": name, "phrase": phrase, "ref_bbox": boxes[0], "bbox_list": boxes} for phrase in phrases]
    write(root / "NegRefCOCOg.json", json.dumps(items))
    data = asked("negrefcocog", tmp_path)
    assert data.keys == [f"{name} 30.4 0 33.57 48", f"{name} 0 0 42.9 48"]
    assert [one.kind for one in data.questions] == ["without", "not", "no", "other"]
    assert all(one.images[one.answer] == 0 and {*one.texts} == {one.texts[0]} for one in data.questions)
    whole = np.asarray(open_image(root / "coco_images/train2014" / name))
    assert np.array_equal(np.asarray(open_image(data.images[0])), whole[:, 30:64])
    assert np.array_equal(np.asarray(open_image(data.images[1])), whole[:, :43])
    write(root / "NegRefCOCOg.json", json.dumps([{**items[0], "bbox_list": boxes[:1]}]))
    with pytest.raises(RequestError, match="question 1 has 1 texts"):
        asked("negrefcocog", tmp_path)
    write(root / "NegRefCOCOg.json", json.dumps([{**items[0], "ref_bbox": None}]))
    with pytest.raises(RequestError, match="entry 0 is not as in the original"):
        asked("negrefcocog", tmp_path)


def test_sugarcrepe(tmp_path: Path) -> None:
    root = tmp_path / "sugar-crepe"
    kinds = ["add_obj", "add_att", "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att"]
    for kind in kinds:
        entry = {"filename": COCO[0], "caption": f"true {kind} ", "negative_caption": f"false {kind}"}
        write(root / f"data/{kind}.json", json.dumps({"0": entry, "7": {**entry, "filename": COCO[1]}}))
    pictures(root / "data/coco/images/val2017", COCO)
    data = asked("sugarcrepe", tmp_path)
    assert (list(data.kinds), data.keys) == (kinds, COCO)
    assert all(right(one) == f"true {one.kind}" for one in data.questions)
    assert {*data.questions[3].texts} == {"true add_att", "false add_att"}
    (root / "data/swap_obj.json").unlink()
    assert "has no data/swap_obj.json" in str(locate(all_specs()["sugarcrepe"], tmp_path))


def test_valse(tmp_path: Path) -> None:
    root = tmp_path / "VALSE"
    entry = {
        "dataset": "Visual7W",
        "image_file": "v7w_1.jpg",
        "linguistic_phenomena": "existence",
        "caption": "There are no people.",
        "foil": "There are people.",
        "mturk": {"foil": 0, "caption": 3, "other": 0},
    }
    refused = {**entry, "mturk": {"foil": 2, "caption": 1, "other": 0}}
    write(root / "data/existence.json", json.dumps({"existence_0": entry, "existence_1": refused}))
    write(
        root / "data/plurals.json", json.dumps({"p": {**entry, "caption": ["Exactly one dog."], "image_file": COCO[0]}})
    )
    write(root / "data/actant-swap.json", json.dumps({"a": entry}))
    pictures(root / "visual7w/images", ["v7w_1.jpg"])
    pictures(root / "val2017", COCO)
    data = asked("valse", tmp_path)
    assert [(one.kind, right(one)) for one in data.questions] == [
        ("existence", "There are no people."),
        ("plurals", "Exactly one dog."),
    ]
    assert data.made.startswith("without counting hard, counting small")
    assert "actant swap" in data.made  # whose pictures are not there
    write(root / "data/existence.json", json.dumps({"existence_0": {**entry, "foil": None}}))
    with pytest.raises(RequestError, match="entry existence_0 is not as in the original"):
        asked("valse", tmp_path)


def test_aro(tmp_path: Path) -> None:
    root = tmp_path / "aro"
    (root / "images").mkdir(parents=True)
    make_picture(40, 30).save(root / "images/2414300.jpg", quality=95)
    box = {"bbox_x": 5, "bbox_y": 4, "bbox_w": 20, "bbox_h": 10}
    entry = {"image_id": "2414300", "image_path": "2414300.jpg", **box, "relation_name": "on"}
    captions = {"true_caption": "the cat is on the mat", "false_caption": "the mat is on the cat"}
    write(root / "visual_genome_relation.json", json.dumps([entry | captions, entry | captions]))
    white = {"true_caption": "the white cat", "false_caption": "the black cat", "attributes": ["white", "black"]}
    write(root / "visual_genome_attribution.json", json.dumps([entry | white]))
    data = asked("aro_relation", tmp_path)
    assert (len(data), len(data.questions), data.kinds) == (1, 2, ("on",))
    assert right(data.questions[0]) == captions["true_caption"]
    whole = np.asarray(open_image(root / "images/2414300.jpg"))
    assert np.array_equal(np.asarray(open_image(data.images[0])), whole[4:14, 5:25])
    assert asked("aro_attribution", tmp_path).kinds == ("white and black",)


def test_urban1k(tmp_path: Path) -> None:
    root = tmp_path / "Urban1k"
    pictures(root / "image", ["1.jpg", "2.jpg", "10.jpg"])
    for number in (1, 2, 10):
        write(root / f"caption/{number}.txt", f"Street {number}, “busy”.\nNot this.")
    data = told("urban1k", tmp_path)
    assert data.keys == ["1.jpg", "2.jpg", "10.jpg"]
    assert data.texts[2] == "Street 10, “busy”."
    assert all_specs()["urban1k"].remarks(data)[-1].startswith("the paper counts 1,000 pictures")
    write(root / "caption/2.txt", "")
    with pytest.raises(RequestError, match=r"2\.txt: its first line is empty"):
        told("urban1k", tmp_path)


def test_sharegpt4v(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "sharegpt4v"
    names = [f"sam/images/sa_{number}.jpg" for number in range(1005)]
    entries = [
        {
            "id": number,
            "image": name,
            "conversations": [
                {"from": "human", "value": "?"},
                {"from": "gpt", "value": f"No. {number}:\na [street], {{x}}."},
            ],
        }
        for number, name in enumerate(names)
    ]
    file = write(root / "share-captioner_coco_lcs_sam_1246k_1107.json", json.dumps(entries, indent=1) + "what follows")
    data = told("sharegpt4v1k", tmp_path)
    assert (len(data), data.keys[-1]) == (1000, names[999])
    assert data.texts[3] == "No. 3: a [street], {x}."
    # However the pieces fall that are read at a time.
    for size in (1, 7, 300):
        monkeypatch.setattr("sightword.data.readers.long_captions._CHUNK", size)
        assert [*first_of_list(file, 6)] == entries[:6]
    assert [*first_of_list(write(tmp_path / "few.json", '[{"a": 1}, {"b": 2}]'), 6)] == [{"a": 1}, {"b": 2}]
    for wrong in ("", '{"a": 1}', '[{"a": 1}, {"b"'):
        with pytest.raises(RequestError, match="not a readable JSON list"):
            [*first_of_list(write(tmp_path / "wrong.json", wrong), 6)]


def test_every_benchmark_of_language_says_how_to_get_it(tmp_path: Path) -> None:
    from sightword.evaluation.suites import suite

    for spec in suite("language"):
        place = locate(spec, tmp_path)
        if isinstance(place, Place):
            assert spec.name.startswith(("scenes_", "emoji_"))
        elif not spec.requires:
            assert str(tmp_path) in place.get
            assert place.get != f"from {spec.source}, into {tmp_path / spec.name}"
