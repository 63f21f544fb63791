"""A checkpoint to start from that looks at pictures of another size: positions, tower and contract with it."""

from __future__ import annotations

from torch import nn

from sightword.errors import RequestError
from sightword.towers.configs import ViTConfig
from sightword.towers.positions import resample
from sightword.towers.resnet import ResNet
from sightword.towers.vit import ViT
from sightword.training.start import Start


def resized(start: Start, size: int) -> Start:
    """The same start for pictures of `size` pixels a side; its model is changed in place. Learned positions are
    resampled (bicubic); a tower of convolutions alone has none, and what it computes stays. CLIP's ViT-L/14@336px was
    made of its ViT-L/14 in this way (arXiv 2103.00020, section 2.5). Raises RequestError for a size that the tower
    cannot take."""
    tower, before = start.model.image, start.contract.architecture.image
    where = f"{start.name}: model.image.image_size = {size}"
    if isinstance(before, ViTConfig):
        assert isinstance(tower, ViT)
        side = size // before.patch  # what is left over is not seen
        if not side:
            raise RequestError(f"{where}: its patches have {before.patch} pixels")
        tower.positions = nn.Parameter(resample(tower.positions.detach(), (side, side), int(before.class_token)))
    elif isinstance(tower, ResNet):
        side, rest = divmod(size, tower.patch)
        if rest:
            raise RequestError(f"{where}: its ResNet needs a multiple of {tower.patch}")
        pool = tower.attention_pool
        pool.positions = nn.Parameter(resample(pool.positions.detach(), (side, side), 1))
    architecture = start.contract.architecture.model_copy(
        update={"image": before.model_copy(update={"image_size": size})}
    )
    start.model.config = architecture
    image = start.contract.image.model_copy(update={"size": size})
    return start._replace(contract=start.contract.model_copy(update={"architecture": architecture, "image": image}))
