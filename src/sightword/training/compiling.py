"""What a run's towers learn for the compiler before its first step: every kind of batch that a step will bring.

A function of the recipe and of the training texts alone, so that a run which is taken up again computes with the same
code as one that was never interrupted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from sightword.data.pairs import Batch, Beside, Listed, Tokens
from sightword.training.randomness import random_state_kept
from sightword.training.step import Stepper
from sightword.training.views import Views


def compile_towers(stepper: Stepper, probe: Batch, views: Views, batch_size: int) -> None:
    """probe: some rows of a batch. batch_size: of all ranks together. Neither weights nor statistics nor the random
    state are changed. Raises RequestError where the towers cannot be compiled."""
    if stepper.compiled is None:
        return
    encoders = stepper.encoders
    rows = max(3, -(-batch_size // (stepper.world.size * stepper.pieces)))
    buffers = {name: buffer.clone() for name, buffer in encoders.named_buffers()}
    with random_state_kept(stepper.device), stepper.compiled.learn("training.compile"):
        for batch in _kinds(probe, views, rows, stepper.model.text.trims):
            if stepper.pieces > 1:
                with torch.no_grad():
                    encoders(batch)
            terms = encoders(batch)
            vectors = [tensor for tensor in terms.vectors() if tensor.requires_grad]
            torch.autograd.backward(vectors, [torch.ones_like(tensor) for tensor in vectors])
    encoders.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, buffer in encoders.named_buffers():
            buffer.copy_(buffers[name])


def _kinds(probe: Batch, views: Views, rows: int, trims: bool) -> Iterator[Batch]:
    """Pictures as each part of the run sees them; texts with padding that is left out, and without. Each in two sizes:
    see Compiled."""
    for turn in views.turns():
        for less in (0, 1):
            count = rows - less
            # As the loader gives them: the three channels of a pixel side by side.
            images = probe.images[:1].expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last)
            draws = torch.arange(count, device=images.device)
            for short in (True, False):
                tokens = _texts(probe.tokens, count, less * trims, short)
                beside = {
                    kind: Beside(_texts(texts.tokens, count, less * trims, short), draws)
                    for kind, texts in probe.beside.items()
                }
                twice = {
                    kind: _texts(texts.tokens, 2 * count, less * trims, short) for kind, texts in probe.listed.items()
                }
                listed = {
                    kind: Listed(texts, draws.repeat(2), torch.full_like(draws, 2)) for kind, texts in twice.items()
                }
                told = replace(probe, images=images, tokens=tokens, draws=draws, beside=beside, listed=listed)
                yield views(told, turn)


def _texts(tokens: Tokens, count: int, less: int, short: bool) -> Tokens:
    # One of them as long as the batch is wide, the others half as long or as long as that.
    width = max(2, tokens.ids.shape[1] - less)
    ids = tokens.ids[:1, :width].expand(count, -1)
    others = width // 2 if short else width
    return Tokens(ids, torch.tensor([width] + [others] * (count - 1), device=ids.device))
