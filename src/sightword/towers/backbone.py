"""Towers around a pretrained backbone of another kind: its features, then a projection to the joint space.

Locked, partly or fully trained (LiT: arXiv 2111.07991). An image backbone is any module that maps images
[B, 3, H, W] to features [B, F]; `register_backbone` gives it the name by which a checkpoint finds it again. A text
backbone is an encoder of the BERT family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.errors import RequestError
from sightword.towers.bert import Bert
from sightword.towers.configs import BackboneConfig as BackboneConfig
from sightword.towers.configs import TextEncoderConfig as TextEncoderConfig
from sightword.towers.efficientnet import EfficientNetLite
from sightword.towers.tower import Levels, TextPart, TextTower, Tower, Words

_BACKBONES: dict[str, Callable[[], nn.Module]] = {
    "efficientnet-lite0": lambda: EfficientNetLite("lite0"),
    "efficientnet-lite1": lambda: EfficientNetLite("lite1"),
    "efficientnet-lite2": lambda: EfficientNetLite("lite2"),
    "efficientnet-lite3": lambda: EfficientNetLite("lite3"),
    "efficientnet-lite4": lambda: EfficientNetLite("lite4"),
}


def register_backbone(name: str, build: Callable[[], nn.Module]) -> None:
    """Make `name` usable in recipes and checkpoints. A checkpoint stores the name only: whoever loads it registers
    the same builder first.

    The module maps images [B, 3, H, W] to [B, F] and says F as its attribute `features`. With a method `stages()`
    (its parts from input to output) it can be locked in part. With `levels()` it can give words to pixels: of images,
    maps at strides of 4, 8, 16 and 32, whose channels are its attribute `channels`, and maps whose means over places,
    side by side, are its features; none of them is finer than the first, which has `patch` pixels to a place.
    """
    _BACKBONES[name] = build


class ImageBackbone(Tower):
    def __init__(self, config: BackboneConfig, embed_dim: int) -> None:
        super().__init__()
        if config.name not in _BACKBONES:
            known = ", ".join(sorted(_BACKBONES))
            raise RequestError(f"no backbone is registered as {config.name!r}; registered are {known}")
        self.embed_dim = embed_dim
        self.backbone = _BACKBONES[config.name]()
        features: int = self.backbone.features  # type: ignore[assignment]
        self.projection = nn.Linear(features, embed_dim)
        nn.init.normal_(self.projection.weight, std=features**-0.5)
        nn.init.zeros_(self.projection.bias)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return self.projection(self.backbone(images_B3HW))

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the maps of `levels`; empty where the backbone has none."""
        return tuple(getattr(self.backbone, "channels", ()))

    @property
    def patch(self) -> int:
        """Pixels of a place of what `levels` calls patches."""
        return int(self.backbone.patch)  # type: ignore[arg-type]

    def levels(self, images_B3HW: Tensor) -> Levels:
        """The mean over all places is what `forward` gives, up to the edges of the coarser maps."""
        maps, pooled = self.backbone.levels(images_B3HW)  # type: ignore[operator]
        grid = pooled[0].shape[2:]
        shares = self.projection.weight.split([map_.shape[1] for map_ in pooled], dim=1)
        # Projected first: fewer channels are brought to the finest grid.
        projected = [F.conv2d(map_, share[:, :, None, None]) for map_, share in zip(pooled, shares, strict=True)]
        finer = [F.interpolate(map_, size=grid, mode="bilinear", align_corners=False) for map_ in projected[1:]]
        return Levels(maps, sum(finer, projected[0]) + self.projection.bias[:, None, None])

    def stages(self) -> Sequence[nn.Module]:
        stages = getattr(self.backbone, "stages", None)
        return stages() if callable(stages) else [self.backbone]


class TextEncoder(TextTower):
    def __init__(self, config: TextEncoderConfig, embed_dim: int) -> None:
        super().__init__()
        self.trims = config.trims
        width, positions = config.encoder.width, config.encoder.positions - config.encoder.position_offset
        if config.context > positions:
            raise ValueError(f"a context of {config.context} tokens, and the encoder has {positions} positions")
        self.embed_dim = embed_dim
        self.backbone = Bert(config.encoder)
        self.projection = nn.Linear(width, embed_dim)
        nn.init.zeros_(self.projection.bias)
        if embed_dim == width:
            # The joint space begins as the encoder's own space, in which it already knows what is near to what.
            nn.init.eye_(self.projection.weight)
        else:
            nn.init.normal_(self.projection.weight, std=width**-0.5)

    def forward(self, tokens: Tokens, words: Words | None = None) -> Tensor:
        return self.project(self.features(tokens, words))

    def features(self, tokens: Tokens, words: Words | None = None) -> Tensor:
        """Unit vectors [B, W] of the backbone: constant while it is locked, and so worth keeping."""
        return F.normalize(self.backbone(tokens, words).float(), dim=-1)

    def project(self, features_BW: Tensor) -> Tensor:
        return self.projection(features_BW)

    def stages(self) -> Sequence[nn.Module]:
        return self.backbone.stages()

    def pooled(self, x_BLW: Tensor, tokens: Tokens) -> Tensor:
        return self.backbone.pool(x_BLW, tokens)

    def part(self, name: TextPart) -> Sequence[nn.Parameter]:
        """The norm is that of the embeddings: what follows the last block has none of its own."""
        embeddings = self.backbone.embeddings
        parts: dict[TextPart, list[nn.Module]] = {
            "tokens": [embeddings.tokens],
            "positions": [embeddings.positions, embeddings.segments],
            "norm": [embeddings.norm],
            "projection": [self.projection],
        }
        return [parameter for module in parts[name] for parameter in module.parameters()]


def load_backbone(backbone: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Fill a backbone, strictly: every tensor is there, and of its shape."""
    own = backbone.state_dict()
    missing = sorted(own.keys() - weights.keys())
    unknown = sorted(weights.keys() - own.keys())
    shapes = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if missing or unknown or shapes:
        first = missing[0] if missing else unknown[0] if unknown else sorted(shapes)[0]
        raise RequestError(
            f"{where}: not the weights of this backbone ({len(missing)} tensors missing, {len(unknown)} unknown, "
            f"{len(shapes)} of another shape; the first: {first})"
        )
    with torch.no_grad():
        backbone.load_state_dict(weights)
