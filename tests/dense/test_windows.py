"""Windows over a picture: what one pixel gets of them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sightword.dense.windows import Axis, axes, cut, slide


def axis(length: int, scaled: int, window: int, step: int, stride: int) -> Axis:
    return Axis(length, scaled, slide(scaled, window, step), window, stride)


@given(st.integers(8, 60), st.integers(0, 200), st.integers(1, 60), st.sampled_from([1, 2, 4, 8]))
def test_every_pixel_is_seen_and_its_shares_add_up_to_one(window: int, more: int, step: int, stride: int) -> None:
    window -= window % stride
    made = axis(50, window + more, window, min(step, window), stride)
    assert made.starts[-1] + window == made.scaled
    placed = made.place(0, made.scaled, range(len(made.starts)), window // stride)
    assert placed.isfinite().all()  # no pixel is divided by zero windows
    assert torch.allclose(placed.sum(dim=1), torch.ones(made.scaled), atol=1e-5)


def test_one_window_is_bilinear_interpolation() -> None:
    made = axis(40, 24, 24, 12, 4)
    maps = torch.randn(1, 1, 6, 6)
    across = made.place(0, 24, range(1), 6)
    assert torch.allclose(across @ maps @ across.T, F.interpolate(maps, size=24, mode="bilinear"), atol=1e-6)
    both = made.resize(0, 40) @ across
    expected = F.interpolate(F.interpolate(maps, size=24, mode="bilinear"), size=40, mode="bilinear")
    assert torch.allclose(both @ maps @ both.T, expected, atol=1e-5)


def test_windows_are_averaged_where_they_overlap() -> None:
    made = axis(12, 12, 8, 4, 8)  # windows at 0 and 4, of a single cell
    placed = made.place(0, 12, range(2), 1)
    assert placed[:, 0].tolist() == [1] * 4 + [0.5] * 4 + [0] * 4
    assert placed[:, 1].tolist() == [0] * 4 + [0.5] * 4 + [1] * 4


@pytest.mark.parametrize(("length", "scaled"), [(100, 64), (37, 64), (64, 64)])
def test_stretches_are_rows_of_the_whole(length: int, scaled: int) -> None:
    made = axis(length, scaled, 16, 8, 4)
    whole = made.resize(0, length) @ made.place(0, scaled, range(len(made.starts)), 4)
    for begin, end in cut(length, 5):
        first, last = made.needs(begin, end)
        seen = made.seen(first, last)
        part = made.resize(begin, end) @ made.place(first, last, seen, 4)
        assert torch.allclose(part, whole[begin:end, seen.start * 4 : seen.stop * 4], atol=1e-6)


def test_a_patch_that_does_not_divide_the_window_leaves_a_rest() -> None:
    placed = axis(20, 20, 20, 10, 8).place(0, 20, range(1), 2)
    assert placed[16:].tolist() == [[0, 1]] * 4  # goes on as the last patch


def test_a_strip_is_squeezed() -> None:
    rows, columns = axes((700, 3), short=96, window=64, step=32, stride=8)
    assert (rows.scaled, columns.scaled) == (96, 64 * 96)
    rows, columns = axes((1, 1), short=96, window=64, step=32, stride=8)
    assert (rows.scaled, columns.scaled) == (96, 96)
