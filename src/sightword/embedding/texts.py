"""Tokens to unit vectors, without computing what makes no difference.

- A causal tower that pools at the end of a text never sees its padding: on a CPU its texts are packed, each shared
  beginning computed once (packed.py). On a GPU many small attentions would cost more than the padding does.
- A tower that masks the padding, or a causal one on a GPU, takes texts of similar length together, padded to the
  longest of them.
- A tower that was trained on padding and sees it (SigLIP) takes all of its context, always.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from sightword.data.pairs import Tokens
from sightword.embedding.packed import encode_packed
from sightword.towers.dual import DualEncoder
from sightword.towers.text import TextTransformer


def encode_texts(model: DualEncoder, tokens: Tokens, device: torch.device, batch_size: int) -> NDArray[np.float32]:
    """Unit vectors [N, D], float32."""
    vectors = np.empty((len(tokens), model.config.embed_dim), dtype=np.float32)
    tower = model.text
    if isinstance(tower, TextTransformer) and tower.packs and device.type == "cpu":
        for which, features in encode_packed(tower, tokens.ids.numpy(), tokens.lengths.numpy()):
            vectors[which] = F.normalize(features.float(), dim=-1).numpy()
        return vectors
    for chosen in torch.argsort(tokens.lengths, stable=True).split(batch_size):
        lengths = tokens.lengths[chosen]
        width = int(lengths.max()) if tower.trims else tokens.ids.shape[1]
        batch = Tokens(tokens.ids[chosen, :width], lengths).to(device)
        vectors[chosen.numpy()] = model.encode_text(batch).cpu().numpy()
    return vectors
