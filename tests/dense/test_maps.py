"""Maps of whole pictures, of a scorer whose maps are known: the red and green of each cell."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from sightword.dense.maps import ScoreMaps, Slide


def colours(pixels: NDArray[np.uint8]) -> torch.Tensor:
    return F.avg_pool2d(torch.from_numpy(pixels).permute(0, 3, 1, 2).float(), 4)[:, :2]


@pytest.mark.parametrize("size", [(200, 120), (120, 200), (128, 128), (40, 30), (30, 40)])
def test_a_map_lies_on_its_picture(picture: Callable[..., Image.Image], size: tuple[int, int]) -> None:
    image = picture(*size)
    slide = Slide(size=64, short=96, step=32, stride=4, resample=Image.Resampling.BICUBIC)
    maps = ScoreMaps(image, slide, colours, queries=2, refine=False, device=torch.device("cpu"))
    found = np.empty((2, size[1], size[0]))
    for band in maps.bands():
        for first, logits in maps.read(band):
            found[(slice(first, first + len(logits)), *maps.place(band))] = logits.numpy()
    expected = np.asarray(image).transpose(2, 0, 1)[:2]
    apart = np.abs(found - expected).mean()
    assert apart < 3  # at the border of a window its cells go on, which is little of the picture
    for axis in (1, 2):
        assert np.abs(np.roll(found, 4, axis) - expected).mean() > 2 * apart  # or a shift would not show
