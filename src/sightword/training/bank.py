"""What a wholly locked text encoder makes possible: its features never change, so each text is encoded once.

Shapes: K names, D joint space, W width of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sightword.data.pairs import Tokens, label_id
from sightword.data.tokenizer import Tokenizer
from sightword.towers.backbone import TextEncoder
from sightword.towers.dual import DualEncoder, unit

_LIMIT = 20_000  # texts to remember
_BATCH = 256


class KeptFeatures:
    """The features of the texts that were learned; others are computed each time.

    What is kept does not depend on what was met on the way, and so not on where a run was interrupted: the last bits of
    a feature depend on the batch that it was computed in.
    """

    def __init__(self, tower: TextEncoder) -> None:
        self.tower = tower
        self.known: dict[tuple[int, ...], Tensor] = {}

    def learn(self, texts: Sequence[str], tokenizer: Tokenizer, device: torch.device) -> None:
        """Encode texts ahead, in a fixed order. More than can be kept are left to be met."""
        if len(texts) <= _LIMIT:
            for at in range(0, len(texts), _BATCH):
                tokens = tokenizer(texts[at : at + _BATCH], truncate=True).to(device)
                self.known |= self._features(tokens, _rows(tokens))

    def __call__(self, tokens: Tokens) -> Tensor:
        rows = _rows(tokens)
        new = self._features(tokens, rows)
        if not rows:
            return self.tower.projection.weight.new_zeros(0, self.tower.projection.in_features)
        return torch.stack([self.known[row] if row in self.known else new[row] for row in rows])

    def _features(self, tokens: Tokens, rows: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Tensor]:
        """Of those that are not known."""
        new = [i for i, row in enumerate(rows) if row not in self.known]
        if not new:
            return {}
        with torch.no_grad():
            features = self.tower.features(Tokens(tokens.ids[new], tokens.lengths[new])).float()
        return {rows[i]: feature for i, feature in zip(new, features, strict=True)}


def _rows(tokens: Tokens) -> list[tuple[int, ...]]:
    return [tuple(row[:length]) for row, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True)]


def kept_features(model: DualEncoder) -> KeptFeatures | None:
    """None unless the text tower is a pretrained encoder of which only the projection trains."""
    tower = model.text
    if isinstance(tower, TextEncoder) and not any(p.requires_grad for p in tower.backbone.parameters()):
        return KeptFeatures(tower)
    return None


class Bank:
    """All names of the training pairs, for losses that hold each picture against all of them.

    The projection of the text tower trains, so `vectors()` is fresh at every step; the encoder runs only once.
    """

    def __init__(self, kept: KeptFeatures, tokenizer: Tokenizer, names: Sequence[str], device: torch.device) -> None:
        self.tower = kept.tower
        parts = [names[at : at + _BATCH] for at in range(0, max(1, len(names)), _BATCH)]
        self.features_KW = torch.cat([kept(tokenizer(part, truncate=True).to(device)) for part in parts])
        # A name is positive for the pictures that have it as their label, and for those that have it as their caption.
        ids = [(label_id(name), label_id(name)) for name in names]
        self.labels = torch.tensor(ids, dtype=torch.int64, device=device).reshape(-1, 2)

    def vectors(self) -> Tensor:
        """Unit vectors [K, D]."""
        return unit(self.tower.project(self.features_KW))
