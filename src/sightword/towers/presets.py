"""Named configurations: the nine released CLIPs (arXiv 2103.00020, tables 19 and 20), and small ones for a CPU."""

from __future__ import annotations

from sightword.errors import RequestError
from sightword.towers.configs import DualEncoderConfig, ResNetConfig, TextConfig, ViTConfig

_VOCABULARY, _CONTEXT = 49_408, 77


def _text(width: int, layers: int = 12, vocabulary: int = _VOCABULARY, context: int = _CONTEXT) -> TextConfig:
    return TextConfig(vocabulary=vocabulary, context=context, width=width, layers=layers, heads=width // 64)


def _resnet(embed_dim: int, size: int, blocks: tuple[int, int, int, int], width: int, text: int) -> DualEncoderConfig:
    image = ResNetConfig(image_size=size, blocks=blocks, width=width, heads=width * 32 // 64)
    return DualEncoderConfig(embed_dim=embed_dim, image=image, text=_text(text))


def _vit(embed_dim: int, size: int, patch: int, width: int, layers: int, text: int) -> DualEncoderConfig:
    image = ViTConfig(image_size=size, patch=patch, width=width, layers=layers, heads=width // 64)
    return DualEncoderConfig(embed_dim=embed_dim, image=image, text=_text(text))


PRESETS: dict[str, DualEncoderConfig] = {
    "RN50": _resnet(1024, 224, (3, 4, 6, 3), 64, 512),
    "RN101": _resnet(512, 224, (3, 4, 23, 3), 64, 512),
    "RN50x4": _resnet(640, 288, (4, 6, 10, 6), 80, 640),
    "RN50x16": _resnet(768, 384, (6, 8, 18, 8), 96, 768),
    "RN50x64": _resnet(1024, 448, (3, 15, 36, 10), 128, 1024),
    "ViT-B/32": _vit(512, 224, 32, 768, 12, 512),
    "ViT-B/16": _vit(512, 224, 16, 768, 12, 512),
    "ViT-L/14": _vit(768, 224, 14, 1024, 24, 768),
    "ViT-L/14@336": _vit(768, 336, 14, 1024, 24, 768),
    # For CPUs and tests; their vocabulary is replaced by that of the tokenizer they are trained with.
    "RN-tiny": DualEncoderConfig(
        embed_dim=256,
        image=ResNetConfig(image_size=64, blocks=(1, 1, 1, 1), width=16, heads=8),
        text=_text(128, layers=2, vocabulary=2048, context=32),
    ),
    "ViT-tiny/8": DualEncoderConfig(
        embed_dim=256,
        image=ViTConfig(image_size=64, patch=8, width=192, layers=6, heads=3),
        text=_text(192, layers=3, vocabulary=2048, context=32),
    ),
    "ViT-test": DualEncoderConfig(
        embed_dim=32,
        image=ViTConfig(image_size=32, patch=8, width=64, layers=2, heads=2),
        text=TextConfig(vocabulary=512, context=32, width=64, layers=2, heads=2),
    ),
}


def preset(name: str) -> DualEncoderConfig:
    if name not in PRESETS:
        raise RequestError(f"no preset is called {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
