"""How strongly the losses of negation pull at each block of a text tower: ln(||dL/dtheta|| / ||theta||) of a block's
parameters, for Omni-NegCLIP's presence loss, its absence loss, and both (objectives/negation.py, weights as published).

The pictures' vectors stand still, as in the method itself. Each batch holds a picture once, with one of its captions.

Shapes: N pictures, D joint space, L blocks, K batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sightword.data.denials import Denial, Denials
from sightword.data.pairs import label_id
from sightword.embedding.base import Vectors
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.evaluation.layers import text_tower
from sightword.objectives import NegationWeights, OmniNegCLIP

BATCH, BATCHES = 64, 4
_FEWEST = 8  # pictures


def gradient_norms(embedder: Embedder, data: Denials, images_ND: Vectors, seed: int) -> tuple[NDArray[np.float64], int]:
    """[3, L, K], of each of `layer_names.LOSSES`, block and batch; and the pictures of a batch. Raises RequestError
    where too few pictures have a true denial."""
    _, tower = text_tower(embedder)
    blocks = [[*block.parameters()] for block in tower.stages()[1:]]
    sizes = [_norm(parameters) for parameters in blocks]
    flat = [parameter for parameters in blocks for parameter in parameters]
    asked = {parameter: parameter.requires_grad for parameter in flat}
    found: list[NDArray[np.float64]] = []
    try:
        for parameter in flat:
            parameter.requires_grad_(True)
        for some in _batches(data, seed):
            presence, absence = _losses(embedder, some, images_ND)
            one, other = (torch.autograd.grad(loss, flat, retain_graph=True) for loss in (presence, absence))
            both = [first + second for first, second in zip(one, other, strict=True)]
            found.append(np.array([_by_block(blocks, sizes, gradients) for gradients in (one, other, both)]))
    finally:
        for parameter, before in asked.items():
            parameter.requires_grad_(before)
    return np.stack(found, axis=-1), len(some)


def _batches(data: Denials, seed: int) -> list[list[Denial]]:
    """One denial of each picture that has a true one and a false one."""
    whole: dict[int, list[Denial]] = {}
    for one in data.denials:
        if one.absent:
            whole.setdefault(one.image, []).append(one)
    rng = np.random.default_rng([seed, len(whole)])
    pictures = rng.permutation(sorted(whole)).tolist()
    if len(pictures) < _FEWEST:
        raise RequestError(
            f"{data}: {len(pictures)} pictures have a caption with something denied that is there and something that "
            f"is not (`denied` and `absent`), and the losses of negation need {_FEWEST}"
        )
    size = min(BATCH, len(pictures))
    chosen = [whole[picture][int(rng.integers(len(whole[picture])))] for picture in pictures]
    return [chosen[start : start + size] for start in range(0, len(chosen) - size + 1, size)][:BATCHES]


def _losses(embedder: Embedder, some: Sequence[Denial], images_ND: Vectors) -> tuple[Tensor, Tensor]:
    device = embedder.device
    image_BD = torch.tensor(images_ND[[one.image for one in some]], device=device)
    texts = [[getattr(one, kind) for one in some] for kind in ("affirmed", "denied", "absent")]
    tokens = embedder.tokenizer([text for kind in texts for text in kind], truncate=True).to(device)
    caption_BD, denied_BD, absent_BD = embedder.model.encode_text(tokens).split(len(some))
    caption, denied, absent = (
        torch.tensor([label_id(text) for text in kind], dtype=torch.int64, device=device) for kind in texts
    )
    labels, scale = torch.stack([caption, caption], dim=1), embedder.model.scale.detach()
    terms = (image_BD, caption_BD, scale, labels, (denied_BD, denied), (absent_BD, absent))
    return OmniNegCLIP(NegationWeights(stage2=0))(*terms), OmniNegCLIP(NegationWeights(presence=0))(*terms)


def _by_block(blocks: Sequence[Sequence[Tensor]], sizes: Sequence[float], gradients: Sequence[Tensor]) -> list[float]:
    rest = iter(gradients)
    norms = [_norm([next(rest) for _ in parameters]) for parameters in blocks]
    return [math.log(max(norm, 1e-300) / size) for norm, size in zip(norms, sizes, strict=True)]


def _norm(tensors: Sequence[Tensor]) -> float:
    return math.sqrt(sum(float(one.detach().double().square().sum()) for one in tensors))
