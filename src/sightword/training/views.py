"""How much of each picture a step looks at: fewer patches (FLIP, arXiv 2212.00794), fewer pixels (CLIPA, arXiv
2305.07017; progressive resolution of the Perception Encoder, arXiv 2504.13181). Both buy more pictures for the same
compute; a last part of the steps sees them whole.

Shapes: B batch, K patches kept of P.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.data.pairs import Batch
from sightword.errors import RequestError
from sightword.towers.configs import ImageConfig, ViTConfig
from sightword.training.recipe import TrainingRecipe


class Views:
    """A batch as it was read to a batch as step number `step` sees it: a function of these two alone."""

    def __init__(self, image: ImageConfig, training: TrainingRecipe) -> None:
        self.patch = image.patch if isinstance(image, ViTConfig) else None
        if training.drop_patches and self.patch is None:
            raise RequestError(f"training.drop_patches needs an image tower of kind 'vit', not {image.kind!r}")
        unit = self.patch or 32
        for pixels, _ in training.sizes:
            if pixels % unit or pixels > image.image_size:
                raise RequestError(
                    f"training.sizes: {pixels} pixels are no multiple of {unit}, or more than the tower's "
                    f"{image.image_size}"
                )
        self.drop, self.full = training.drop_patches, image.image_size
        self.whole_from = training.steps - round(training.whole * training.steps)
        self.sizes: list[tuple[int, int]] = []  # (up to this step, pixels)
        end = 0.0
        for pixels, share in training.sizes:
            end += share
            self.sizes.append((round(end * training.steps), pixels))

    def turns(self) -> list[int]:
        """The first step, and all at which pictures begin to be seen otherwise."""
        return sorted({0, *(until for until, _ in self.sizes), *([self.whole_from] if self.drop else [])})

    def __call__(self, batch: Batch, step: int) -> Batch:
        pixels = next((pixels for until, pixels in self.sizes if step < until), self.full)
        images = batch.images if pixels == self.full else shrink(batch.images, pixels)
        if not self.drop or self.patch is None or step >= self.whole_from:
            return replace(batch, images=images)
        patches = (pixels // self.patch) ** 2
        kept = max(1, round(patches * (1 - self.drop)))
        return replace(batch, images=images, keep=choose_patches(batch.draws, step, patches, kept))


def shrink(images_B3HW: Tensor, pixels: int) -> Tensor:
    """uint8 to uint8, bilinear with antialiasing."""
    return F.interpolate(images_B3HW, size=(pixels, pixels), mode="bilinear", antialias=True)


def choose_patches(draws_B: Tensor, step: int, patches: int, kept: int) -> Tensor:
    """int64 [B, kept], ascending: other patches for each sample and step, the same whoever draws them."""
    number_BP = draws_B[:, None] + _mix(torch.arange(patches, device=draws_B.device) + patches * step)
    return _mix(number_BP).argsort(dim=1)[:, :kept].sort(dim=1).values


def _mix(number: Tensor) -> Tensor:
    """A number to one that looks random (the finaliser of SplitMix64, in two's complement)."""
    number = (number ^ ((number >> 30) & 0x3FFFFFFFF)) * -0x40A7B892E31B1A47
    number = (number ^ ((number >> 27) & 0x1FFFFFFFFF)) * -0x6B2FB644ECCEEE15
    return number ^ ((number >> 31) & 0x1FFFFFFFF)
