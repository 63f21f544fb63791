"""LSeg: language-driven semantic segmentation (arXiv 2201.03546). An image tower and a decoder give each pixel a vector
in the space of a text tower that does not train; a pixel's score for a label is the scaled cosine of the two (section
3). As in the paper, the tower is a ViT or one of convolutions.

Two blocks smooth the score maps, one kernel of 3 x 3 for all labels (section 3.4, figure 3): so their number may
change from one picture to the next, and their order does not matter. A block is applied `depth` times with the same
weights, an activation after each time but the last.
Deviations: any tower that sightword knows, trained as a CLIP, in place of one trained on ImageNet's classes; GroupNorm
in the decoder (see dpt.py); a kernel that begins as one that changes nothing; the tower's own patches can have a share
in the vectors of pixels (`patches`), as they know names that no mask was ever seen of; depth 0 is no block at all,
where the authors' code applies it once.
Shapes: B batch, N labels, C joint space, F features of the decoder, h x w maps at stride 2 or 4, P their cells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.towers.backbone import ImageBackbone
from sightword.towers.configs import LSegConfig as LSegConfig
from sightword.towers.configs import ViTConfig
from sightword.towers.dpt import DPT, Reassemble, enlarge, factors, hooks_of
from sightword.towers.resnet import ResNet
from sightword.towers.vit import ViT

_TINY = 1e-12  # of the square of a length


class SpatialBlock(nn.Module):
    """Score maps [B, N, h, w] to the like. bottleneck: the highest score of all labels, before the kernel, joins each
    label's (BottleneckBlock); without it, each label is by itself (DepthwiseBlock). The last time, what all labels
    share (bias and maximum) makes no difference to a softmax: at depth 1 the two are one."""

    def __init__(self, kind: str, depth: int, activation: str) -> None:
        super().__init__()
        self.bottleneck, self.depth = kind == "bottleneck", depth
        self.kernel = nn.Conv2d(1, 1, 3, padding=1)
        # A random kernel as often has a negative sum, which turns all scores around; applied an odd number of times, or
        # often, it does not come back from there.
        nn.init.dirac_(self.kernel.weight)
        nn.init.zeros_(self.kernel.bias)  # type: ignore[arg-type]
        self.activation = nn.Tanh() if activation == "tanh" else nn.LeakyReLU(0.01)

    def forward(self, scores_BNhw: Tensor) -> Tensor:
        shape = scores_BNhw.shape
        for time in range(self.depth):
            before = scores_BNhw
            # Each label's map is a picture of one channel.
            scores_BNhw = self.kernel(before.reshape(-1, 1, *shape[2:])).view(shape)
            if self.bottleneck:
                scores_BNhw = scores_BNhw + before.amax(dim=1, keepdim=True)
            if time < self.depth - 1:
                scores_BNhw = self.activation(scores_BNhw)
        return scores_BNhw


class Found(NamedTuple):
    """features: what the decoder gives, [B, F, h, w]. patches: the tower's own, [B, C, rows, columns] of its grid; None
    where they have no share."""

    features: Tensor
    patches: Tensor | None


class LSeg(nn.Module):
    """Beside the image tower, whose tokens it takes: what of them gives vectors of pixels, and of these scores."""

    def __init__(self, config: LSegConfig, image: ViTConfig | Sequence[int], embed_dim: int) -> None:
        """image: of a ViT its configuration; of a tower of convolutions, the channels of its levels. Raises ValueError
        for what cannot be."""
        super().__init__()
        self.config = config
        self.hooks: tuple[int, ...] = ()
        self.reassemble: Reassemble | None = None
        finest: float
        channels: Sequence[int]
        if isinstance(image, ViTConfig):
            self.hooks = _checked_hooks(config, image)
            self.reassemble = Reassemble(
                image.width, image.patch, int(image.class_token), config.channels, config.readout
            )
            finest, channels = image.patch / factors(image.patch)[0], config.channels
        else:
            if config.hooks is not None:
                raise ValueError("dense.hooks are blocks of a ViT, and this tower is none: leave them out")
            finest, channels = 4, image
        self.stride = round(finest * config.stride / 4)  # of what the decoder gives, in pixels
        self.decoder = DPT(channels, config.features, config.norm, twice=config.stride == 2)
        self.head = nn.Conv2d(config.features, embed_dim, 1)
        self.block = SpatialBlock(config.block, config.depth, config.activation) if config.depth else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(config.scale)), requires_grad=config.learn_scale)

    def forward(self, tower: ViT | ResNet | ImageBackbone, images_B3HW: Tensor) -> Found:
        """Normalised pictures to all that scores are made of."""
        if isinstance(tower, ViT):
            assert self.reassemble is not None
            tokens, grid = tower.hidden(images_B3HW, self.hooks)
            features = self.decoder(self.reassemble(tokens, grid))
            return Found(features, tower.patches_of(tokens[-1], grid) if self.config.patches else None)
        maps, patches = tower.levels(images_B3HW)
        return Found(self.decoder(maps), patches if self.config.patches else None)

    def vectors(self, found: Found) -> Tensor:
        """The vectors of pixels [B, C, h, w], in float32: of unit length, or, with patches, the mean of two such."""
        vectors_BChw = F.normalize(self.head(found.features.float()).float(), dim=1)
        if found.patches is None:
            return vectors_BChw
        patches_BChw = enlarge(F.normalize(found.patches.float(), dim=1), vectors_BChw.shape[2:])
        return torch.lerp(vectors_BChw, patches_BChw, self.config.patches)

    def scores(self, found: Found, labels: Tensor) -> Tensor:
        """Logits [B, N, h, w] in float32: the scaled cosines of `vectors` and labels, then the block. labels: unit
        vectors [N, C], or [B, N, C] where each picture has its own.

        The vectors themselves, the largest tensor by far, are never made. With the head as one matrix A over features
        and a one, a label's product with a vector is (A' label) · f, and the square of the vector's length f' (A'A) f.
        """
        features_BFhw, patches_BCgg = found
        with torch.autocast(features_BFhw.device.type, enabled=False):
            assert self.head.bias is not None
            A_CF = torch.cat([self.head.weight.flatten(1), self.head.bias[:, None]], dim=1)
            f_BFP = F.pad(features_BFhw.float().flatten(2), (0, 0, 0, 1), value=1.0)
            products_BNP = (labels.float() @ A_CF) @ f_BFP
            squares_BP = (f_BFP * ((A_CF.T @ A_CF) @ f_BFP)).sum(dim=1)
            cosines_BNP = products_BNP * squares_BP.clamp(min=_TINY).rsqrt()[:, None]
            cosines_BNhw = cosines_BNP.unflatten(2, features_BFhw.shape[2:])
            if patches_BCgg is not None:
                # Products of the few patches are enlarged, not the patches themselves.
                of_patches = labels.float() @ F.normalize(patches_BCgg.float(), dim=1).flatten(2)
                coarse_BNgg = of_patches.unflatten(2, patches_BCgg.shape[2:])
                cosines_BNhw = torch.lerp(
                    cosines_BNhw, enlarge(coarse_BNgg, cosines_BNhw.shape[2:]), self.config.patches
                )
            scores_BNhw = cosines_BNhw * self.log_scale.exp()
            return scores_BNhw if self.block is None else self.block(scores_BNhw)


def _checked_hooks(config: LSegConfig, image: ViTConfig) -> tuple[int, ...]:
    hooks = config.hooks or hooks_of(image.layers)
    if max(hooks) >= image.layers or list(hooks) != sorted(hooks):
        raise ValueError(f"dense.hooks are four of the blocks 0 to {image.layers - 1}, in this order, not {hooks}")
    if config.patches and max(hooks) < image.layers - 1:
        raise ValueError(f"dense.patches are those of the last block: the last of dense.hooks is {image.layers - 1}")
    if config.size < image.patch:
        raise ValueError(f"dense.size is {config.size}, and a patch has {image.patch} pixels a side")
    return tuple(hooks)
