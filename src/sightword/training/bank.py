"""What a wholly locked text encoder makes possible: its features never change, so each text is encoded once.

Shapes: K names, D joint space, W width of the encoder.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.data.pairs import Tokens, label_id
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.towers.backbone import TextEncoder
from sightword.towers.dual import DualEncoder

_LIMIT = 100_000  # texts to remember
_BATCH = 256


class KeptFeatures:
    """The features of every text met so far."""

    def __init__(self, tower: TextEncoder) -> None:
        self.tower = tower
        self.known: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, tokens: Tokens) -> Tensor:
        rows = [tuple(row[:length]) for row, length in zip(tokens.ids.tolist(), tokens.lengths.tolist(), strict=True)]
        new = [i for i, row in enumerate(rows) if row not in self.known]
        if new:
            with torch.no_grad():
                features = self.tower.features(Tokens(tokens.ids[new], tokens.lengths[new])).float()
            if len(self.known) + len(new) > _LIMIT:
                self.known.clear()
                return self(tokens)
            self.known |= {rows[i]: feature for i, feature in zip(new, features, strict=True)}
        return torch.stack([self.known[row] for row in rows])


def is_locked(model: DualEncoder) -> bool:
    """Whether the text tower is a pretrained encoder of which only the projection trains."""
    tower = model.text
    return isinstance(tower, TextEncoder) and not any(p.requires_grad for p in tower.backbone.parameters())


class Bank:
    """All names of the training pairs, for losses that hold each picture against all of them.

    The projection of the text tower trains, so `vectors()` is fresh at every step; the encoder runs only once.
    """

    def __init__(self, model: DualEncoder, tokenizer: Tokenizer, names: Sequence[str], device: torch.device) -> None:
        if not isinstance(model.text, TextEncoder) or not is_locked(model):
            raise RequestError("training.bank needs a locked text encoder: model.text.train = 'head'")
        self.tower = model.text
        with torch.no_grad():
            self.features_KW = torch.cat(
                [
                    self.tower.features(tokenizer(names[at : at + _BATCH], truncate=True).to(device)).float()
                    for at in range(0, len(names), _BATCH)
                ]
            )
        self.labels = torch.tensor([label_id(name) for name in names], device=device)

    def vectors(self) -> Tensor:
        """Unit vectors [K, D]."""
        return F.normalize(self.tower.project(self.features_KW).float(), dim=-1)
