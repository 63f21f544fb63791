"""Average precision: of the truth itself, of boxes made by hand, and of a model on scenes."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from sightword.data.scenes import Scenes, folder_sprites
from sightword.dense.detection import Detection, find_boxes
from sightword.errors import RequestError
from sightword.evaluation.detection import TrueBox, average_precision, detect_scenes, scene_boxes
from sightword.model import Model
from tests.data.scenes.conftest import COLOURS, draw_sprite

pytest.importorskip("pycocotools")
TRUTH = [
    [TrueBox("cat", (0, 0, 10, 10)), TrueBox("dog", (20, 0, 10, 20))],
    [TrueBox("cat", (5, 5, 40, 40))],
    [],
]


def seen(label: str, box: tuple[int, int, int, int], score: float = 1.0) -> Detection:
    return Detection(label, score, box, box[2] * box[3])


AS_TRUE = [[seen(one.label, one.box, 0.5) for one in some] for some in TRUTH]


def test_the_truth_has_precision_one() -> None:
    found = average_precision(TRUTH, AS_TRUE)
    assert (found.ap, found.ap50) == pytest.approx((1, 1))
    assert found.by_label == pytest.approx({"cat": 1, "dog": 1})
    assert (found.pictures, found.boxes) == (3, 3)


def test_nothing_found_and_wrong_names_have_none() -> None:
    assert average_precision(TRUTH, [[], [], []]).ap == 0
    wrong = [[seen("dog" if one.label == "cat" else "cat", one.box) for one in some] for some in AS_TRUE]
    assert average_precision(TRUTH, wrong).ap == 0


def test_a_box_counts_up_to_its_overlap() -> None:
    """Half of the names at 10 overlaps, the other at those up to 0.7."""
    found = [[AS_TRUE[0][0], seen("dog", (20, 0, 10, 14))], AS_TRUE[1], []]
    judged = average_precision(TRUTH, found)
    assert judged.by_label == pytest.approx({"cat": 1, "dog": 0.5})  # 0.50 to 0.70 of 0.50 to 0.95
    assert judged.ap == pytest.approx(0.75)
    assert judged.ap50 == pytest.approx(1)


def test_a_false_box_costs_where_it_is_surer_than_the_right_one() -> None:
    false = [AS_TRUE[0], AS_TRUE[1], [seen("dog", (0, 0, 9, 9), 0.9)]]
    assert average_precision(TRUTH, false).by_label["dog"] == pytest.approx(0.5)
    unsure = [AS_TRUE[0], AS_TRUE[1], [seen("dog", (0, 0, 9, 9), 0.1)]]
    assert average_precision(TRUTH, unsure).by_label["dog"] == pytest.approx(1)
    # What is in no picture plays no part.
    nowhere = [AS_TRUE[0], AS_TRUE[1], [seen("car", (0, 0, 9, 9), 0.9)]]
    assert average_precision(TRUTH, nowhere).ap == pytest.approx(1)


def test_orders_make_no_difference() -> None:
    found = [[seen("cat", (0, 0, 10, 8), 0.4), seen("dog", (20, 0, 9, 20), 0.7)], [seen("cat", (0, 0, 9, 9), 0.6)], []]
    first = average_precision(TRUTH, found)
    places = [2, 0, 1]
    turned = average_precision([TRUTH[n][::-1] for n in places], [found[n][::-1] for n in places])
    assert (turned.ap, turned.ap50, turned.by_label) == (first.ap, first.ap50, first.by_label)


def test_wrong_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="truth of 3 pictures and boxes of 2"):
        average_precision(TRUTH, AS_TRUE[:2])
    with pytest.raises(RequestError, match="nothing to find"):
        average_precision([[], []], [[], []])
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(RequestError, match=r"sightword\[coco\]"):
        average_precision(TRUTH, AS_TRUE)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    folder = tmp_path_factory.mktemp("sprites")
    for shape in ("ring", "bar", "disc"):
        for word, colour in COLOURS.items():
            for number in range(3):
                draw_sprite(folder / f"{shape}s" / f"{word}-{shape}_{number}.png", colour, shape)
    return Scenes(folder_sprites(folder), count=6, size=64, seed=4)


def test_scenes_whose_masks_are_found_have_precision_one(scenes: Scenes) -> None:
    """Boxes of what is seen, one part each: of scenes in which nothing hides or touches its like."""
    found = []
    for scene, some in zip(scenes, scene_boxes(scenes), strict=True):
        assert {one.label for one in some} <= {thing.name for thing in scene.things}
        instances = scene.instances()
        labels = ["other", *(f"{place} {thing.name}" for place, thing in enumerate(scene.things))]
        parts = find_boxes(instances.astype(np.int16), np.ones(instances.shape, np.float32), labels, ["other"], 0)
        largest = {one.label: one for one in sorted(parts, key=lambda one: one.area)}
        found.append([seen(label.split(" ", 1)[1], one.box) for label, one in largest.items()])
    judged = average_precision(scene_boxes(scenes), found)
    assert judged.boxes == sum(map(len, scene_boxes(scenes)))
    assert judged.ap50 > 0.9


def test_a_model_on_scenes(model: Model, scenes: Scenes) -> None:
    done: list[int] = []
    judged = detect_scenes(model, scenes, labels=8, progress=done.append)
    assert done == [1, 2, 3, 4, 5, 6]
    assert 0 <= judged.ap <= judged.ap50 <= 1
    assert judged.pictures == 6
    assert set(judged.by_label) == {one.label for some in scene_boxes(scenes) for one in some}
    assert detect_scenes(model, scenes, labels=8) == judged
