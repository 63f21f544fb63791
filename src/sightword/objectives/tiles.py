"""What the losses over all pairs of a batch share: the columns that a rank's rows are held against, which of them are
positives, and the tiles in which they are gone through, so that the whole matrix never exists.

Shapes: R rows (the images of this rank), N texts of all ranks, C = N + the further texts of all ranks, D joint space,
M labels a row; r rows and c columns of a tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sightword.objectives.ranks import Ranks

# Rows and columns of a tile at most. On a CPU it stays in the last cache, where passes over it cost next to nothing,
# and is large enough for products at full speed.
_TILE = {"cpu": (1024, 2048)}
_TILE_GPU = (8192, 8192)
_PART = 1 << 18  # elements for passes over a tile one after the other: what one leaves is near for the next


@dataclass(frozen=True)
class Tile:
    """logits: [r, c], the products of these rows with these columns."""

    rows: slice
    columns: slice
    logits: Tensor

    def parts(self) -> Iterator[tuple[slice, Tensor]]:
        """Few of its rows at a time, counted within it."""
        count, width = self.logits.shape
        step = max(1, _PART // max(1, width))
        for at in range(0, count, step):
            rows = slice(at, min(at + step, count))
            yield rows, self.logits[rows]


class TileSums(NamedTuple):
    """What a softmax needs of a tile: log-sums over its columns [r] and, of the n texts among them, over its rows [n].
    positives, where there are labels: sums of their logits and their numbers, by row [r], [r] and by text [n], [n]."""

    rows: slice
    texts: slice
    by_row: Tensor
    by_text: Tensor
    positives: tuple[Tensor, Tensor, Tensor, Tensor] | None


@dataclass(frozen=True)
class Columns:
    """vectors: [C, D], the texts of the batch, then the further ones. texts: N. own, own_more: which of them came from
    this rank. labels: what `positives` compares, None where a row's own partner is its only positive."""

    vectors: Tensor
    texts: int
    own: slice
    own_more: slice
    labels: tuple[Tensor, Tensor] | None

    def within(self, columns: slice) -> slice:
        """Those of the columns that are texts of the batch. Perhaps none: the further texts are the last."""
        return slice(columns.start, max(columns.start, min(columns.stop, self.texts)))

    def positives(self, tile: Tile) -> Tensor | None:
        """bool [r, c]: which of a tile's columns have a label in common with its rows."""
        if self.labels is None:
            return None
        row_rM, column_cM = self.labels[0][tile.rows], self.labels[1][tile.columns]
        found = row_rM[:, None, 0] == column_cM[None, :, 0]
        for m in range(1, row_rM.shape[1]):
            found |= row_rM[:, None, m] == column_cM[None, :, m]
        return found


def columns(
    text_RD: Tensor, labels: Tensor | None, more_KD: Tensor | None, more_labels: Tensor | None, ranks: Ranks
) -> Columns:
    vectors_ND, own = ranks.join(text_RD)
    texts, own_more = len(vectors_ND), slice(0, 0)
    if more_KD is not None:
        joined, place = ranks.join(more_KD)
        own_more = slice(texts + place.start, texts + place.stop)
        vectors_ND = torch.cat([vectors_ND, joined])
    if labels is None:
        return Columns(vectors_ND, texts, own, own_more, None)
    row_RM = _rows(labels)
    column_CM, _ = ranks.join(row_RM)
    if more_KD is not None:
        if more_labels is None:
            others = row_RM.new_full((len(vectors_ND) - texts, row_RM.shape[1]), torch.iinfo(torch.int64).min)
        else:
            others, _ = ranks.join(_rows(more_labels))
        column_CM = torch.cat([column_CM, others])
    shared = _anything_shared(column_CM, texts)
    return Columns(vectors_ND, texts, own, own_more, (row_RM, column_CM) if shared else None)


def _rows(labels: Tensor) -> Tensor:
    """[B] or [B, M] to [B, M]."""
    return labels if labels.ndim == 2 else labels[:, None]


def _anything_shared(column_CM: Tensor, texts: int) -> bool:
    """Whether two of the pairs, or a pair and a further text, agree in a label."""
    for labels_C in column_CM.unbind(1):
        batch, more = labels_C[:texts].sort().values, labels_C[texts:]
        if bool((batch[1:] == batch[:-1]).any()) or bool(torch.isin(more, batch).any()):
            return True
    return False


def tile_size(rows: int, columns: int, device: torch.device) -> tuple[int, int]:
    """Rows and columns of a tile: as few tiles as fit, of nearly one size."""
    most = _TILE.get(device.type, _TILE_GPU)
    high, wide = (-(-count // max(1, -(-count // size))) for count, size in zip((rows, columns), most, strict=True))
    return max(1, high), max(1, wide)


def spans(rows: int, columns: int, high: int, wide: int) -> Iterator[tuple[slice, slice]]:
    """The rows and the columns of each tile."""
    for at in range(0, rows, high):
        for start in range(0, columns, wide):
            yield slice(at, min(at + high, rows)), slice(start, min(start + wide, columns))


def tiles(rows_RD: Tensor, columns_CD: Tensor) -> Iterator[Tile]:
    """The products of all rows with all columns, in memory that is the next tile's as well: fresh memory would cost as
    much as what is done in it."""
    R, C = len(rows_RD), len(columns_CD)
    high, wide = tile_size(R, C, rows_RD.device)
    memory = rows_RD.new_empty(high * wide)
    for rows, columns in spans(R, C, high, wide):
        r, c = rows.stop - rows.start, columns.stop - columns.start
        logits_rc = torch.mm(rows_RD[rows], columns_CD[columns].T, out=memory[: r * c].view(r, c))
        yield Tile(rows, columns, logits_rc)


def checked(
    image_RD: Tensor, text_RD: Tensor, labels: Tensor | None, more_KD: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The vectors in full precision. Raises ValueError where the shapes do not fit."""
    if image_RD.shape != text_RD.shape or image_RD.ndim != 2:
        raise ValueError(f"needs two [B, D] of one shape, got {list(image_RD.shape)} and {list(text_RD.shape)}")
    if labels is not None and len(labels) != len(image_RD):
        raise ValueError(f"needs a label for each of the {len(image_RD)} rows, got {list(labels.shape)}")
    return full(image_RD), full(text_RD), None if more_KD is None else full(more_KD)


def full(tensor: Tensor) -> Tensor:
    """In float32 at least: sums over a large batch lose too much in half precision."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
