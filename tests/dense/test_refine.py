"""PAMR against a pixel-by-pixel reading of its definition."""

from __future__ import annotations

import numpy as np
import torch

from sightword.dense.refine import REACH, Affinities


def picture(height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 255


def test_a_constant_map_stays() -> None:
    maps = torch.full((2, 20, 24), 3.25)
    assert torch.allclose(Affinities(picture()).refine(maps), maps, atol=1e-5)


def test_one_time_is_its_definition() -> None:
    image, maps = picture().double(), torch.randn(20, 24, generator=torch.Generator().manual_seed(1)).double()
    found = Affinities(image).shares_KHW
    assert found.shape == (16, 20, 24)
    for y, x in ((0, 0), (10, 12), (19, 3)):
        places = [
            (min(max(y + dy * far, 0), 19), min(max(x + dx * far, 0), 23))
            for far in (8, 16)
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        ]
        colours = np.array([image[:, a, b].numpy() for a, b in places])  # the pixel itself is among them, twice
        deviation = colours.std(axis=0, ddof=1)
        near = [place for place, at in zip(places, range(18), strict=True) if at % 9 != 4]
        likeness = [-np.mean(np.abs(image[:, a, b].numpy() - image[:, y, x].numpy()) / (1e-8 + 0.1 * deviation))
                    for a, b in near]  # fmt: skip
        shares = np.exp(likeness) / np.exp(likeness).sum()
        assert np.allclose(found[:, y, x].numpy(), shares)
        once = sum(share * maps[a, b].item() for share, (a, b) in zip(shares, near, strict=True))
        affinities = Affinities(image)
        affinities.shares_KHW = found
        assert np.isclose(_once(affinities, maps)[y, x].item(), once)


def _once(affinities: Affinities, maps_HW: torch.Tensor) -> torch.Tensor:
    from unittest import mock

    with mock.patch("sightword.dense.refine.TIMES", 1):
        return affinities.refine(maps_HW[None])[0]


def test_scores_stop_at_an_edge_of_colour() -> None:
    image = torch.zeros(3, 40, 40)
    image[:, :, 20:] = 255
    maps = torch.zeros(1, 40, 40)
    maps[:, :, 14:20] = 1.0
    refined = Affinities(image).refine(maps)[0]
    assert refined[:, 20:].max() < 0.05 * refined[:, :20].max()


def test_nothing_reaches_further_than_it_says() -> None:
    image, maps = picture(4, 2 * REACH + 41), torch.zeros(1, 4, 2 * REACH + 41)
    maps[:, :, : REACH - 1] = 1.0
    middle = slice(2 * REACH - 1, None)
    assert Affinities(image).refine(maps)[:, :, middle].abs().max() == 0
