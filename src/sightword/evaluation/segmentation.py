"""How well masks agree with the truth: intersection over union of each class, and of its boundaries.

Areas are summed over all pictures before they are divided, class by class, found by NAME: pictures may be asked for
different labels. A label that a picture was not asked for plays no part in it; one that it was asked for and does not
hold counts where it is predicted. Intervals resample pictures.

Boundary IoU: arXiv 2103.16562. FB-IoU as in few-shot segmentation (arXiv 2104.01538).
Shapes: H, W pixels of a picture; N pictures, C class names, B resamples.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightword.errors import RequestError
from sightword.evaluation.bootstrap import Estimate, bootstrap
from sightword.evaluation.weighted import ClassMean, Floats

Mask = NDArray[np.integer[Any]]

BAND = 0.02
"""The width of a boundary, as a share of the picture's diagonal (arXiv 2103.16562, section 4)."""


@dataclass(frozen=True)
class Overlap:
    """One picture: of each of its labels, the pixels where truth and prediction agree on it, and those where either
    says it; the same of the bands along their boundaries."""

    labels: tuple[str, ...]
    both: tuple[int, ...]
    either: tuple[int, ...]
    both_bands: tuple[int, ...]
    either_bands: tuple[int, ...]


def overlap(predicted_HW: Mask, truth_HW: Mask, labels: Sequence[str]) -> Overlap:
    """Both masks hold indices into labels; where the truth is negative, nothing counts. (A boundary along such a place
    is one for both.)

    Raises RequestError where the masks are not of one size, or hold what is no label.
    """
    if predicted_HW.shape != truth_HW.shape:
        raise RequestError(
            f"the mask has {_size(predicted_HW)} pixels and the truth {_size(truth_HW)}: they must be of one picture"
        )
    counts_HW = truth_HW >= 0
    for what, mask_HW in (("mask", predicted_HW), ("truth", truth_HW)):
        beyond = mask_HW[counts_HW & ((mask_HW < 0) | (mask_HW >= len(labels)))]
        if beyond.size:
            raise RequestError(f"the {what} holds {int(beyond[0])}, and there are {len(labels)} labels, from 0")
    there = np.union1d(predicted_HW[counts_HW], truth_HW[counts_HW])
    width = max(1, round(BAND * math.hypot(*truth_HW.shape)))
    areas = np.zeros((4, len(labels)), dtype=np.int64)
    for label in there:
        said_HW, true_HW = counts_HW & (predicted_HW == label), truth_HW == label
        said_band_HW, true_band_HW = said_HW & ~_eroded(said_HW, width), true_HW & ~_eroded(true_HW, width)
        areas[:, label] = (
            np.count_nonzero(said_HW & true_HW),
            np.count_nonzero(said_HW | true_HW),
            np.count_nonzero(said_band_HW & true_band_HW),
            np.count_nonzero(said_band_HW | true_band_HW),
        )
    return Overlap(tuple(labels), *(tuple(row) for row in areas.tolist()))


class Segmented:
    """The overlaps of many pictures. names: all labels that any of them was asked for, sorted."""

    def __init__(self, overlaps: Iterable[Overlap]) -> None:
        overlaps = list(overlaps)
        self.names = tuple(sorted({name for one in overlaps for name in one.labels}))
        place = {name: c for c, name in enumerate(self.names)}
        areas = np.zeros((4, len(overlaps), len(self.names)))
        for n, one in enumerate(overlaps):
            columns = [place[name] for name in one.labels]
            areas[:, n, columns] = (one.both, one.either, one.both_bands, one.either_bands)
        self.both_NC, self.either_NC, self.both_bands_NC, self.either_bands_NC = areas

    def by_class(self) -> dict[str, float]:
        """IoU of each class that is anywhere in truth or prediction."""
        both_C, either_C = self.both_NC.sum(axis=0), self.either_NC.sum(axis=0)
        return {
            name: float(both / either)
            for name, both, either in zip(self.names, both_C, either_C, strict=True)
            if either
        }

    def mean_iou(self, without: Sequence[str] = (), seed: int = 0) -> Estimate:
        """The mean over classes. without: names that do not count, say that of the background."""
        return self._mean(self.both_NC, self.either_NC, without, seed)

    def boundary_iou(self, without: Sequence[str] = (), seed: int = 0) -> Estimate:
        """The mean over classes, of the bands inside their boundaries."""
        return self._mean(self.both_bands_NC, self.either_bands_NC, without, seed)

    def foreground_background_iou(self, background: str, seed: int = 0) -> Estimate:
        """The mean of two: the IoU of all classes but the background together, and that of the background."""
        if background not in self.names:
            raise RequestError(f"no picture was asked for the background {background!r}")
        back_C = np.array([name == background for name in self.names])

        def halves(areas_NC: Floats) -> Floats:
            return np.stack([areas_NC[:, ~back_C].sum(axis=1), areas_NC[:, back_C].sum(axis=1)], axis=1)

        return bootstrap(_MeanIoU(halves(self.both_NC), halves(self.either_NC)), seed=seed)

    def pixel_accuracy(self, seed: int = 0) -> Estimate:
        """The share of all pixels that are right."""
        both_N1 = self.both_NC.sum(axis=1, keepdims=True)
        # A wrong pixel is in two unions: that of what it is, and that of what it was taken for.
        all_N1 = (self.either_NC.sum(axis=1, keepdims=True) + both_N1) / 2
        return bootstrap(_MeanIoU(both_N1, all_N1), seed=seed)

    def _mean(self, both_NC: Floats, either_NC: Floats, without: Sequence[str], seed: int) -> Estimate:
        keep_C = np.array([name not in without for name in self.names])
        return bootstrap(_MeanIoU(both_NC[:, keep_C], either_NC[:, keep_C]), seed=seed)


class _MeanIoU(ClassMean):
    """The mean over classes of a ratio of sums."""

    # A ratio of sums is off by something over the number of its terms.
    bias_order = 1.0

    def __init__(self, both_NC: Floats, either_NC: Floats) -> None:
        self.n, self.both_CN, self.either_CN = len(both_NC), both_NC.T, either_NC.T
        self.effective_n = float(self.n)

    def of_classes(self, weights_NB: Floats) -> Floats:
        both_CB, either_CB = self.both_CN @ weights_NB, self.either_CN @ weights_NB
        return np.divide(both_CB, either_CB, out=np.full(both_CB.shape, np.nan), where=either_CB > 0)


def _eroded(mask_HW: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """The pixels all of whose neighbours, up to `width` away in either direction, are in the mask. Nothing is, outside
    the picture."""
    padded = np.pad(mask_HW, ((width + 1, width), (width + 1, width))).astype(np.int32)
    sums = padded.cumsum(axis=0).cumsum(axis=1)
    side = 2 * width + 1
    inside_HW = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return inside_HW == side * side


def _size(mask_HW: Mask) -> str:
    return " x ".join(str(side) for side in reversed(mask_HW.shape))
