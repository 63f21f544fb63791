"""The benchmark of LSeg: which names its tests ask for, and how much better one rule is than another."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.segmentation import MASKED, NAMED, UNSEEN, compared, halves, ratio, row_of, segmented, three_tests
from sightword.data.scenes import Scenes, emoji_sprites, masked_scenes
from sightword.data.scenes.labels import OTHER


def test_names_with_masks_without_masks_and_never_seen_are_apart() -> None:
    sprites = emoji_sprites()
    masked, named = halves(sprites)
    vocabularies = {test: {*found.vocabulary} - {OTHER} for test, found in three_tests(sprites, 2).items()}
    assert [*vocabularies] == [MASKED, NAMED, UNSEEN]
    everything = [name for names in vocabularies.values() for name in names]
    assert len(everything) == len({*everything})
    # What LSeg trains on holds none of the names without masks, and what its start trains on does.
    assert not vocabularies[NAMED] & {*Scenes(masked, "train").names}
    assert vocabularies[NAMED] <= {*Scenes(named, "train").names}
    assert not vocabularies[UNSEEN] & {*Scenes(sprites, "train").names}


def test_things_without_ground_are_measured_and_compared() -> None:
    masked = masked_scenes(Scenes(emoji_sprites(), "validation", 6, 64), ground=False)
    truth = {picture.labels: picture.mask() for picture in masked.pictures}
    right = segmented(lambda picture, labels: np.maximum(truth[tuple(labels)], 0), masked)
    first = segmented(lambda picture, labels: np.zeros_like(truth[tuple(labels)]), masked)
    row = row_of("right", "validation", right)
    assert row["miou"] == row["miou_without_other"] == 1
    assert row["pictures"] == 6
    assert ratio(right, right) == (1, 1, 1)
    times, low, high = ratio(first, right)
    assert times == pytest.approx(row_of("the first label", "validation", first)["miou"])
    assert low <= times <= high < 1
    both = {
        "first": lambda picture, labels: np.zeros_like(truth[tuple(labels)]),
        "right": lambda picture, labels: truth[tuple(labels)],
    }
    rows = [*compared(both, "right", {"validation": masked})]
    assert [row["what"] for row in rows] == ["first", "right"]
    assert (rows[0]["times"], rows[0]["least"], rows[0]["most"]) == (times, low, high)
    assert rows[1]["times"] == 1
