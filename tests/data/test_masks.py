"""A mask goes through the same augmentation as its picture."""

import copy

import numpy as np
import pytest
from PIL import Image

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.pairs import VOID

COLOURS = np.array([(250, 250, 250), (200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)


def example(seed: int) -> tuple[Image.Image, np.ndarray]:
    """Large patches of four colours, and which it is."""
    mask = np.random.default_rng(seed).integers(0, 4, (6, 8)).astype(np.int16).repeat(16, axis=0).repeat(16, axis=1)
    return Image.fromarray(COLOURS[mask]), mask


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(),
        Augment(flip=0.5),
        Augment(crop=(0.3, 0.9), aspect=1.3),
        Augment(crop=(1.2, 2.0), flip=0.5),
        Augment(crop=(0.5, 1.5), rotate=20.0, flip=0.5, brightness=0.05),
    ],
)
def test_what_a_pixel_shows_is_what_its_mask_says(augment: Augment, resize: str):
    spec = ImageSpec(size=64, resize=resize, background=(120, 120, 120))  # type: ignore[arg-type]
    for seed in range(12):
        picture, mask = example(seed)
        rng = np.random.default_rng(seed)
        frame = augment.frame(spec, rng)
        found = augment.finish_mask(mask, frame, copy.deepcopy(rng))
        pixels = augment.finish(picture, frame, rng).astype(int)
        assert found.shape == (64, 64)
        assert found.dtype == np.int16
        assert found.min() >= VOID
        assert found.max() < 4
        nearest = np.abs(pixels[:, :, None] - COLOURS.astype(int)).sum(axis=3)
        sure = (nearest.min(axis=2) < 60) & (found != VOID)
        # A pixel or so along the borders may fall to either side.
        assert sure.mean() > 0.15
        assert (nearest.argmin(axis=2) == found)[sure].mean() > 0.96
        beside = np.abs(pixels - 120).sum(axis=2) < 6  # the ground beside the picture
        if resize != "longest":
            assert (found[beside] == VOID).mean() > 0.95 if beside.sum() > 50 else True


def test_no_pixel_that_counts_is_lost_where_nothing_is_cut():
    picture, mask = example(0)
    spec = ImageSpec(size=96, resize="squash")
    found = Augment().finish_mask(
        mask[:, :96], Augment().frame(spec, np.random.default_rng(0)), np.random.default_rng(0)
    )
    assert np.array_equal(found, mask[:, :96])
    assert picture.size == (128, 96)
