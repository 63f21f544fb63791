"""A start for the image projection in closed form: ridge regression from features to the vectors of the texts.

Both towers begin pretrained, and only the map between them is missing; the best linear one costs a single pass over the
pictures. Shapes: N pictures, F features, D joint space.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sightword.data.loader import Loader
from sightword.data.pairs import Tokens
from sightword.errors import RequestError, SightwordError
from sightword.towers.backbone import ImageBackbone, TextEncoder
from sightword.towers.dual import DualEncoder


@torch.no_grad()
def fit_projection(
    model: DualEncoder,
    loader: Loader,
    strength: float,
    device: torch.device,
    encode_text: Callable[[Tokens], Tensor],
) -> None:
    """Set weight and bias of `model.image.projection`, from one epoch of `loader`. encode_text: tokens to unit vectors.

    With centred features X and centred unit vectors of the texts Y, the weight is (X'X + k I)^-1 X'Y, where k is
    `strength` times the mean of the diagonal of X'X. The text tower's own projection is moved so that its vectors
    are centred as well: otherwise the direction that all texts share would drown the rest.
    """
    tower = model.image
    if not isinstance(tower, ImageBackbone):
        raise RequestError("model.image.fit needs a pretrained image backbone")
    features: list[Tensor] = []
    texts: list[Tensor] = []
    was_training = model.training
    model.eval()
    batches = loader.batches()
    for _ in range(max(1, len(loader.source) // loader.batch_size)):
        batch = next(batches).to(device)
        if len(batch):
            features.append(tower.backbone(loader.spec.normalise(batch.images)).float())
            texts.append(encode_text(batch.tokens))
    batches.close()
    model.train(was_training)
    if not features:
        raise SightwordError("none of the training pictures can be read")
    x_NF, y_ND = torch.cat(features).double(), torch.cat(texts).double()
    mean_F, mean_D = x_NF.mean(dim=0), y_ND.mean(dim=0)
    x_NF, y_ND = x_NF - mean_F, y_ND - mean_D
    gram_FF = x_NF.T @ x_NF
    gram_FF.diagonal().add_(strength * gram_FF.diagonal().mean())
    weight_FD = torch.linalg.solve(gram_FF, x_NF.T @ y_ND)
    # Shifting the projection's bias shifts its vectors before they are normalised; the texts' lengths there are near
    # enough to 1 for the shift to centre them.
    if isinstance(model.text, TextEncoder):
        model.text.projection.bias.sub_(mean_D)
    tower.projection.weight.copy_(weight_FD.T)
    tower.projection.bias.copy_(-(mean_F @ weight_FD))
