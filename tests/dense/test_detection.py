"""Boxes: of masks made by hand, of a segmenter, and as the command gives them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from sightword.cli import run
from sightword.dense.components import find_parts
from sightword.dense.detection import find_boxes
from sightword.dense.overlay import draw_boxes, palette
from sightword.errors import RequestError
from sightword.model import Model

Picture = Callable[..., Image.Image]
LABELS = ["a red circle", "a green square", "a blue triangle", "other"]


def mask_of(*rows: str) -> np.ndarray:
    return np.array([[int(one) for one in row] for row in rows], np.int16)


MASK = mask_of(
    "0001100",
    "0110100",
    "0100200",
    "1000222",
)  # fmt: skip


def test_boxes_of_a_mask_are_exact() -> None:
    shares = np.linspace(0.2, 0.9, MASK.size, dtype=np.float32).reshape(MASK.shape)
    found = find_boxes(MASK, shares, ["sky", "cat", "dog"], background=["sky"], min_area=0)
    # Diagonal neighbours belong together.
    assert [(one.label, one.box, one.area) for one in found] == [("dog", (4, 2, 3, 2), 4), ("cat", (0, 0, 5, 4), 7)]
    for one, label in zip(found, (2, 1), strict=True):
        assert one.score == pytest.approx(shares[label == MASK].mean())
    everything = find_boxes(MASK, shares, ["sky", "cat", "dog"], min_area=0)
    assert [one.area for one in everything if one.label == "sky"] == [6, 11]


def test_small_parts_are_left_out() -> None:
    shares = np.full(MASK.shape, 0.5, np.float32)
    labels = ["sky", "cat", "dog"]
    assert [one.area for one in find_boxes(MASK, shares, labels, min_area=4 / 28)] == [11, 7, 6, 4]
    assert [one.area for one in find_boxes(MASK, shares, labels, min_area=5 / 28)] == [11, 7, 6]
    assert find_boxes(MASK, shares, labels, min_area=1) == []
    whole = find_boxes(np.zeros((3, 5), np.int16), np.ones((3, 5), np.float32), ["sky"], min_area=1)
    assert [(one.box, one.score) for one in whole] == [((0, 0, 5, 3), 1.0)]


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_parts_are_those_of_scipy(height: int, width: int, labels: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask, values = rng.integers(0, labels, (height, width)), rng.random((height, width))
    expected = set()
    for label in range(labels):
        numbered, _ = ndimage.label(mask == label, np.ones((3, 3)))
        for number, (rows, columns) in enumerate(ndimage.find_objects(numbered), start=1):
            inside = numbered == number
            mean = round(float(values[inside].mean()), 9)
            expected.add((label, columns.start, rows.start, columns.stop, rows.stop, int(inside.sum()), mean))
    parts = find_parts(mask, values)
    columns = (parts.labels, parts.left, parts.top, parts.right, parts.bottom, parts.areas, parts.means.round(9))
    assert {*zip(*(one.tolist() for one in columns), strict=True)} == expected
    assert len(parts.labels) == len(expected)


def test_a_spiral_and_a_comb_are_one_part() -> None:
    comb = np.zeros((50, 99), np.int16)
    comb[:, ::2] = 1
    comb[-1] = 1
    parts = find_parts(comb, np.ones(comb.shape))
    assert sorted(parts.areas[parts.labels == 1].tolist()) == [int(comb.sum())]
    assert (parts.labels == 0).sum() == 49


def test_a_segmenters_boxes_are_parts_of_its_mask(model: Model, picture: Picture) -> None:
    found = model.segmenter(LABELS).predict(picture(90, 50))
    boxes = found.boxes(min_area=0)
    assert boxes
    assert "other" not in {one.label for one in boxes}
    assert [one.score for one in boxes] == sorted((one.score for one in boxes), reverse=True)
    for label in LABELS[:3]:
        own = found.mask == LABELS.index(label)
        some = [one for one in boxes if one.label == label]
        assert sum(one.area for one in some) == own.sum()
        if some:
            mean = sum(one.score * one.area for one in some) / own.sum()
            assert mean == pytest.approx(found.scores(label)[own].mean(), abs=1e-5)
    assert {one.label for one in found.boxes([LABELS[0]], 0)} == {one.label for one in boxes} - {LABELS[0]}


def test_what_stays_below_the_threshold_has_no_box(model: Model, picture: Picture) -> None:
    found = model.segmenter(LABELS[:3], threshold=0.34).predict(picture(90, 50))
    assert sum(one.area for one in found.boxes(min_area=0)) == (found.mask < 3).sum()


def test_the_order_of_the_labels_makes_no_difference(model: Model, picture: Picture) -> None:
    image = picture(90, 50)
    one, other = (model.segmenter(labels).predict(image).boxes(min_area=0) for labels in (LABELS, LABELS[::-1]))
    assert one == other
    shares = np.full(MASK.shape, 0.5, np.float32)
    swapped = np.array([2, 0, 1], np.int16)[MASK]
    assert find_boxes(MASK, shares, ["a", "b", "c"], min_area=0) == find_boxes(
        swapped, shares, ["b", "c", "a"], min_area=0
    )


@pytest.mark.parametrize(
    ("background", "min_area", "message"),
    [(["tree"], 0.1, "'tree' is none of the labels"), ([], -0.1, "from 0 to 1, not -0.1"), ([], 20, "not 20")],
)
def test_wrong_numbers(background: list[str], min_area: float, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_boxes(MASK, np.ones(MASK.shape, np.float32), ["sky", "cat", "dog"], background, min_area)


def test_a_box_is_drawn_where_it_is() -> None:
    boxes = find_boxes(MASK.repeat(20, 0).repeat(20, 1), np.ones((80, 140), np.float32), ["sky", "cat", "dog"], ["sky"])
    drawn = np.asarray(draw_boxes(Image.new("RGB", (140, 80), "white"), boxes, ["sky", "cat", "dog"]))
    colour = palette(3)[2]
    assert (drawn[79, 100:140] == colour).all()
    assert (drawn[60:80, 139] == colour).all()


@pytest.fixture
def command(checkpoint: Path) -> Callable[..., int]:
    labels = ("--labels", "a red circle|a green square", "--background", "woman's hat")
    return lambda *arguments: run(["detect", *map(str, arguments), *labels, "--model", str(checkpoint)])


def test_files(command: Callable[..., int], picture: Picture, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "in").mkdir()
    picture(60, 40).save(tmp_path / "in/a.png")
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    picture(60, 40).save(tmp_path / "in/c.gif", save_all=True, append_images=[picture(60, 40, seed=1)])
    assert command(tmp_path / "in", "--out", tmp_path / "seen", "--json", tmp_path / "all.json", "--min-area", 0) == 1
    said = capsys.readouterr()
    assert "broken.png" in said.err
    assert "a red circle" in said.out
    values = json.loads((tmp_path / "all.json").read_text())
    assert set(values) == {"images", "labels", "skipped", "precision"}
    assert values["labels"] == ["a red circle", "woman's hat"]
    assert len(values["images"]) == 3
    for image in values["images"]:
        assert set(image) - {"frame"} == {"image", "drawn", "size", "boxes"}
        assert Image.open(image["drawn"]).size == (60, 40)
        for box in image["boxes"]:
            assert set(box) == {"label", "score", "box", "area"}
            assert box["label"] == "a red circle"
            left, top, width, height = box["box"]
            assert 0 <= left < left + width <= 60
            assert 0 <= top < top + height <= 40
    assert any(image["boxes"] for image in values["images"])
    assert command(tmp_path / "in/a.png", "--min-area", 1) == 0
    assert "nothing that is large enough" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.png", "--min-area", "2"), "from 0 to 1"),
        (("a.png", "--out", "a.png"), "would be overwritten"),
        (("a.png", "--out", "a.jpg"), "PNG"),
        (("gone.png",), "no such file"),
        (("a.png", "--background", "a red circle"), "stands twice"),
    ],
)
def test_wrong_requests(
    command: Callable[..., int],
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    picture(40, 40).save("a.png")
    before = Path("a.png").read_bytes()
    assert command(*arguments) == 2
    assert message in capsys.readouterr().err
    assert Path("a.png").read_bytes() == before
