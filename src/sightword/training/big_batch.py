"""Batches that do not fit: the gradient of a whole batch with the memory of a piece (GradCache, arXiv 2101.06983).

A contrastive loss reaches the towers through the vectors alone. So the vectors of all pieces are computed without
gradients, the loss of the whole batch is differentiated down to the vectors, and each piece goes through the towers
once more, with gradients, to be differentiated from what its vectors received. Randomness (dropout) is played back, so
that both passes see the same. Deviation: scale, bias and further texts are cached like the vectors, and differentiated
with the last piece; then all ranks can average every gradient in that one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from sightword.data.order import share_of
from sightword.data.pairs import Batch
from sightword.errors import RequestError
from sightword.towers.dual import DualEncoder
from sightword.training.encoders import Encoders, Terms
from sightword.training.randomness import random_state, set_random_state


def backward_in_pieces(
    encoders: Encoders,
    shared: nn.Module,
    pieces: Sequence[Batch],
    loss_of: Callable[[Terms], Tensor],
    alone: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Tensor:
    """Add the gradients of the batch that `pieces` make up to the parameters; gives the loss. shared: `encoders` as the
    ranks share them. alone: within it, gradients are not yet averaged over the ranks."""
    device = pieces[0].images.device
    states: list[list[Tensor]] = []
    found: list[Terms] = []
    with torch.no_grad():
        for piece in pieces:
            states.append(random_state(device))
            found.append(encoders(piece))
    after = random_state(device)
    image, text = torch.cat([terms.image for terms in found]), torch.cat([terms.text for terms in found])
    bias, more = found[-1].bias, found[-1].more
    beside = {kind: torch.cat([terms.beside[kind] for terms in found]) for kind in found[-1].beside}
    listed = {kind: torch.cat([terms.listed[kind] for terms in found]) for kind in found[-1].listed}
    leaves = Terms(
        image=_leaf(image),
        text=_leaf(text),
        scale=_leaf(found[-1].scale),
        bias=None if bias is None else _leaf(bias),
        more=None if more is None else _leaf(more),
        beside={kind: _leaf(vectors) for kind, vectors in beside.items()},
        listed={kind: _leaf(vectors) for kind, vectors in listed.items()},
    )
    loss = loss_of(leaves)
    loss.backward()
    place, places = 0, dict.fromkeys(leaves.listed, 0)
    for piece, state in zip(pieces, states, strict=True):
        last = piece is pieces[-1]
        rows = slice(place, place + len(piece))
        place = rows.stop
        set_random_state(state, device)
        with nullcontext() if last else alone():
            live = shared(piece, again=True)
            received = [(live.image, _gradient(leaves.image)[rows]), (live.text, _gradient(leaves.text)[rows])]
            received += [(vectors, _gradient(leaves.beside[kind])[rows]) for kind, vectors in live.beside.items()]
            for kind, vectors in live.listed.items():
                received += [(vectors, _gradient(leaves.listed[kind])[places[kind] :][: len(vectors)])]
                places[kind] += len(vectors)
            if last:
                received += [(live.scale, _gradient(leaves.scale))]
                received += [(live.bias, _gradient(leaves.bias))] if live.bias is not None else []
                received += [(live.more, _gradient(leaves.more))] if live.more is not None else []
            trained = [(tensor, gradient) for tensor, gradient in received if tensor.requires_grad]
            if trained:
                torch.autograd.backward([tensor for tensor, _ in trained], [gradient for _, gradient in trained])
    set_random_state(after, device)
    return loss.detach()


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _gradient(leaf: Tensor | None) -> Tensor:
    assert leaf is not None
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def split(batch: Batch, count: int) -> list[Batch]:
    """`count` pieces of the pictures and texts, in their order, of sizes that differ by one at most."""
    return [batch.rows(share_of(len(batch), number, count)) for number in range(count)]


def refuse_batch_statistics(model: DualEncoder, what: str) -> None:
    """what: cuts the batch. Raise RequestError where the vectors of a picture depend on the batch it is in."""
    parts = {"image tower": model.image, "text tower": model.text, "dense part": model.dense}
    for name, part in parts.items():
        if part is None:
            continue
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training for module in part.modules()):
            raise RequestError(
                f"{what}: the {name} has BatchNorm layers, whose statistics are those of the whole batch: it "
                f"cannot be cut. Do without {what} (training.checkpoint_blocks saves memory as well), lock these "
                "layers, or train a tower without them (a vit; model.dense.norm = 'group')"
            )
