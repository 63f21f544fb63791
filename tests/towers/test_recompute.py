"""Blocks that are computed twice: the same gradients to the bit, and less kept."""

import pytest
import torch
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.towers.backbone import ImageBackbone, TextEncoder, register_backbone
from sightword.towers.configs import (
    BackboneConfig,
    BertConfig,
    ResNetConfig,
    TextConfig,
    TextEncoderConfig,
    ViTConfig,
)
from sightword.towers.recompute import recompute_blocks
from sightword.towers.resnet import ResNet
from sightword.towers.text import TextTransformer
from sightword.towers.tower import Tower
from sightword.towers.vit import ViT

BERT = BertConfig(
    vocabulary=30, positions=16, segments=1, width=16, layers=2, heads=2, mlp_width=32, activation="gelu", eps=1e-12
)


class Noisy(nn.Module):
    """A backbone with BatchNorm and dropout."""

    features = 6

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3))
        self.two = nn.Sequential(nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3))

    def forward(self, images: Tensor) -> Tensor:
        return self.two(self.one(images)).mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.one, self.two]


def make(kind: str) -> Tower:
    register_backbone("noisy-for-recompute", Noisy)
    torch.manual_seed(0)
    match kind:
        case "vit":
            return ViT(ViTConfig(image_size=32, patch=8, width=16, layers=3, heads=2), 8)
        case "resnet":
            return ResNet(ResNetConfig(image_size=32, blocks=(1, 2, 1, 1), width=8, heads=2), 8)
        case "backbone":
            return ImageBackbone(BackboneConfig(name="noisy-for-recompute", image_size=32), 8)
        case "text":
            return TextTransformer(TextConfig(vocabulary=30, context=16, width=16, layers=2, heads=2), 8)
        case _:
            return TextEncoder(TextEncoderConfig(encoder=BERT, context=16), 8)


def look(tower: Tower, kind: str) -> tuple[list[Tensor], list[Tensor], int]:
    """Gradients, buffers, and elements that a step keeps for the gradients, after two steps."""
    torch.manual_seed(1)
    kept: dict[int, int] = {}

    own = {parameter.untyped_storage().data_ptr() for parameter in tower.parameters()}

    def pack(tensor: Tensor) -> Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:  # weights are there in any case
            kept[place] = tensor.numel()
        return tensor

    for _ in range(2):
        kept.clear()  # of one step: the next may have its tensors at the same places
        if kind in ("text", "bert"):
            given: object = Tokens(torch.randint(1, 30, (4, 16)), torch.randint(2, 17, (4,)))
        else:
            given = torch.randn(4, 3, 32, 32)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = tower(given)
        (y * torch.randn_like(y)).sum().backward()
    return [p.grad for p in tower.parameters() if p.grad is not None], list(tower.buffers()), sum(kept.values())


@pytest.mark.parametrize("kind", ["vit", "resnet", "backbone", "text", "bert"])
def test_the_same_gradients_to_the_bit_with_less_kept(kind: str):
    plain, again = make(kind).train(), make(kind).train()
    recompute_blocks(again)
    gradients, buffers, kept = look(plain, kind)
    same_gradients, same_buffers, kept_again = look(again, kind)
    assert len(gradients) == len(same_gradients) > 4
    assert all(torch.equal(one, other) for one, other in zip(gradients, same_gradients, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(buffers, same_buffers, strict=True))  # BatchNorm's
    assert kept_again < kept / 2


def test_without_gradients_nothing_changes():
    plain, again = make("vit").eval(), make("vit").eval()
    recompute_blocks(again)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(plain(images), again(images))
