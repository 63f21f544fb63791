"""Words to a mask: which of some labels each pixel of a picture shows best.

Every label is asked for by its names (synonyms), each a query of its own. A pixel's scores are a softmax over all
queries, a label's score is that of its best query, and the label with the best score has the pixel (the recipe of
SCLIP, arXiv 2312.01597, and its successors). The queries are always computed in one order, that of their names: what a
label gets does not depend on its place in the list, to the bit.
Shapes: Q queries, n some of them, D joint space, H x W pixels of the picture.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightword.data.images import FILTERS, ImageLike, flatten, open_image
from sightword.dense.maps import ScoreMaps, Slide
from sightword.dense.names import check_names
from sightword.dense.scorer import DenseScorer, find_scorer
from sightword.dense.segmentation import OTHER, Segmentation
from sightword.embedding.embedder import Embedder
from sightword.embedding.precision import DTYPES
from sightword.errors import RequestError
from sightword.labels.prompts import PLAIN
from sightword.labels.zero_shot import zero_shot_head
from sightword.towers.patch_rules import Rule

_TOGETHER = {"cpu": 8}  # windows that the model takes at a time
_TOGETHER_ELSEWHERE = 64


class Segmenter:
    """labels: each its own name, or label -> names. templates: as of a classifier. rule, scale: of the training-free
    scorers (see towers/patch_rules and scorer); None takes the default. short: pixels that the shorter side of a
    picture is scaled to (see DenseScorer.short); a window is as large as the pictures that the model was trained on.
    step: pixels from window to window, half a window if not given. threshold: pixels whose best score is below it
    become "other", which joins the labels if it is none. refine: PAMR, scores follow the colours of the picture; slow.

    Raises RequestError for labels or numbers that cannot be, and for a model whose image tower has no patches.
    """

    def __init__(
        self,
        embedder: Embedder,
        labels: Sequence[str] | Mapping[str, Sequence[str]],
        templates: Sequence[str] = PLAIN,
        rule: Rule | None = None,
        short: int | None = None,
        step: int | None = None,
        scale: float | None = None,
        threshold: float | None = None,
        refine: bool = False,
    ) -> None:
        self.embedder, self.threshold, self.refine = embedder, threshold, refine
        named = check_names(labels)
        self.scorer = find_scorer(embedder.model, rule, scale)
        self.slide = _slide(embedder, self.scorer, short, step)
        if threshold is not None and not 0 < threshold < 1:
            raise RequestError(f"threshold is a score between 0 and 1, not {threshold}")
        self._ask_for(named)
        head_QD = zero_shot_head(embedder, self.queries, templates)
        self.head_QD = torch.tensor(head_QD, device=embedder.device)

    def among(self, labels: Sequence[str] | Mapping[str, Sequence[str]]) -> Segmenter:
        """The same, of other labels, all of whose names this one has; none of them is embedded again. labels: as those
        of a new one. Raises RequestError for labels that cannot be, and a name that it does not have."""
        made = copy.copy(self)
        made._ask_for(check_names(labels))
        row = {query: at for at, query in enumerate(self.queries)}
        if unknown := [query for query in made.queries if query not in row]:
            raise RequestError(f"{unknown[0]!r} is none of the segmenter's names: {', '.join(self.queries[:20])}")
        made.head_QD = self.head_QD[[row[query] for query in made.queries]]
        return made

    def _ask_for(self, named: Mapping[str, Sequence[str]]) -> None:
        self.labels = (*named, OTHER) if self.threshold is not None and OTHER not in named else tuple(named)
        owners = sorted((name, at) for at, of in enumerate(named.values()) for name in of)
        self.queries = tuple(name for name, _ in owners)
        self.owners: NDArray[np.int16] = np.array([at for _, at in owners], dtype=np.int16)

    def predict(self, image: ImageLike) -> Segmentation:
        """A path, PIL image, array or bytes to its mask, at the size of the picture. Transparency is drawn on the
        background of the model's contract. Raises ImageError for a picture that cannot be read."""
        spec = self.embedder.contract.image
        picture = flatten(open_image(image, orient=spec.orient), spec.background)
        maps = ScoreMaps(picture, self.slide, self._score, len(self.queries), self.refine, self.embedder.device)
        best_HW = np.empty((picture.height, picture.width), dtype=np.float32)
        total_HW = np.empty_like(best_HW)
        mask_HW = np.empty(best_HW.shape, dtype=np.int16)
        with torch.inference_mode():
            for band in maps.bands():
                best, which, total = _compete(maps.read(band))
                place = maps.place(band)
                best_HW[place], total_HW[place] = best.cpu().numpy(), total.cpu().numpy()
                mask_HW[place] = self.owners[which.cpu().numpy()]
        if self.threshold is not None:
            mask_HW[np.exp(best_HW - total_HW) < self.threshold] = self.labels.index(OTHER)
        return Segmentation(self.labels, mask_HW, picture, maps, self.owners, best_HW, total_HW)

    def _score(self, pixels: NDArray[np.uint8]) -> Tensor:
        """uint8 windows [N, size, size, 3] to logits [N, Q, h, w]."""
        together = _TOGETHER.get(self.embedder.device.type, _TOGETHER_ELSEWHERE)
        found = []
        for some in torch.from_numpy(pixels).split(together):
            images_B3HW = some.to(self.embedder.device).permute(0, 3, 1, 2)
            normalised = self.embedder.contract.image.normalise(images_B3HW).to(DTYPES[self.embedder.precision])
            found.append(self.scorer.scores(normalised, self.head_QD))
        return torch.cat(found)


def _slide(embedder: Embedder, scorer: DenseScorer, short: int | None, step: int | None) -> Slide:
    size = scorer.size
    short = scorer.short if short is None else short
    step = max(1, size // 2) if step is None else step
    if short < size:
        raise RequestError(f"short must be at least {size}, the size of this model's windows, not {short}")
    if not 1 <= step <= size:
        raise RequestError(f"step must be from 1 to {size}, the size of this model's windows, not {step}")
    return Slide(size, short, step, scorer.stride, FILTERS[embedder.contract.image.interpolation])


def _compete(chunks: Iterable[tuple[int, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of logits [n, H, W], some queries at a time: each pixel's best logit, its query, and the log of the sum of all
    exponentials. Of equal logits the first query's counts."""
    chunks = iter(chunks)
    _, maps_nHW = next(chunks)
    best, which = maps_nHW.max(dim=0)
    total = maps_nHW.logsumexp(dim=0)
    for first, maps_nHW in chunks:
        top, at = maps_nHW.max(dim=0)
        which = torch.where(top > best, at + first, which)
        best, total = torch.maximum(best, top), torch.logaddexp(total, maps_nHW.logsumexp(dim=0))
    return best, which, total
