"""DPT and LSeg against a reference written here from the papers; what labels may change, and what not."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sightword.errors import RequestError
from sightword.towers.backbone import ImageBackbone, register_backbone
from sightword.towers.configs import BackboneConfig, DualEncoderConfig, LSegConfig, ResNetConfig, ViTConfig
from sightword.towers.dpt import DPT, Reassemble, factors, hooks_of
from sightword.towers.dual import DualEncoder
from sightword.towers.efficientnet import Depthwise
from sightword.towers.lseg import SpatialBlock
from sightword.towers.presets import preset
from sightword.towers.resnet import ResNet
from sightword.towers.vit import ViT


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def lseg(**changes: object) -> DualEncoder:
    config = preset("ViT-test").model_copy(update={"dense": LSegConfig(size=64, features=16, **changes)})
    return DualEncoder(config).eval()


RESNET = ResNetConfig(image_size=32, blocks=(1, 2, 1, 1), width=8, heads=4)
EFFICIENTNET = BackboneConfig(name="efficientnet-lite0", image_size=64)


def convolutional(image: ResNetConfig | BackboneConfig, **changes: object) -> DualEncoder:
    dense = LSegConfig(size=64, features=16, **changes)
    return DualEncoder(preset("ViT-test").model_copy(update={"image": image, "dense": dense})).eval()


class Flat(nn.Module):
    """A backbone that has no maps."""

    features = 3

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(2, 3))


def labels(count: int, dim: int = 32) -> Tensor:
    return F.normalize(torch.randn(count, dim), dim=1)


def reference_dpt(reassemble: Reassemble, dpt: DPT, tokens: list[Tensor], grid: tuple[int, int], patch: int) -> Tensor:
    """arXiv 2103.13413, figure 1 and section 3, from the weights alone: enlarge, then mix, as the paper has it."""
    w = {name: tensor.double() for name, tensor in {**reassemble.state_dict(), **dpt.state_dict()}.items()}
    maps = []
    for level, x in enumerate(tokens):
        x = x.double()
        joined = torch.cat([x[:, 1:], x[:, :1].repeat(1, x.shape[1] - 1, 1)], dim=-1)
        x = F.gelu(F.linear(joined, w[f"readouts.{level}.project.0.weight"], w[f"readouts.{level}.project.0.bias"]))
        x = x.permute(0, 2, 1).reshape(len(x), -1, *grid)
        x = F.conv2d(x, w[f"resizes.{level}.0.weight"], w[f"resizes.{level}.0.bias"])
        factor = factors(patch)[level]
        if factor > 1:
            weight, bias = w[f"resizes.{level}.1.weight"], w[f"resizes.{level}.1.bias"]
            x = F.conv_transpose2d(x, weight, bias, stride=int(factor))
        elif factor < 1:
            weight, bias = w[f"resizes.{level}.1.weight"], w[f"resizes.{level}.1.bias"]
            x = F.conv2d(x, weight, bias, stride=int(1 / factor), padding=1)
        maps.append(F.conv2d(x, w[f"narrow.{level}.weight"], padding=1))

    def unit(x: Tensor, name: str) -> Tensor:
        y = x
        for conv, norm in ((1, 2), (4, 5)):
            y = F.conv2d(y.relu(), w[f"{name}.body.{conv}.weight"], padding=1)
            y = F.group_norm(y, y.shape[1] // 8, w[f"{name}.body.{norm}.weight"], w[f"{name}.body.{norm}.bias"])
        return x + y

    path = None
    for level in reversed(range(4)):
        x = maps[level] if path is None else path + unit(maps[level], f"fusions.{level}.skip")
        x = unit(x, f"fusions.{level}.unit")
        x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
        path = F.conv2d(x, w[f"fusions.{level}.out.weight"], w[f"fusions.{level}.out.bias"])
    assert path is not None
    return path


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_dpt_is_what_the_paper_says(patch: int):
    reassemble = Reassemble(24, patch, 1, channels=(8, 12, 16, 16)).double()
    dpt = DPT((8, 12, 16, 16), features=16).double()
    grid = (128 // patch, 192 // patch)
    grid = (max(8, grid[0]), max(8, grid[1]))
    tokens = [torch.randn(2, 1 + grid[0] * grid[1], 24, dtype=torch.float64) for _ in range(4)]
    found = dpt(reassemble(tokens, grid))
    assert found.shape[2:] == torch.Size([2 * int(factors(patch)[0] * side) for side in grid])
    torch.testing.assert_close(found, reference_dpt(reassemble, dpt, tokens, grid, patch), rtol=1e-9, atol=1e-9)


def test_strides_and_hooks_are_the_papers():
    assert [16 / factor for factor in factors(16)] == [4, 8, 16, 32]
    assert [8 / factor for factor in factors(8)] == [4, 8, 16, 32]
    assert hooks_of(12) == (2, 5, 8, 11)
    assert hooks_of(24) == (5, 11, 17, 23)
    assert hooks_of(6) == (1, 2, 4, 5)


def test_pictures_of_any_shape():
    model = lseg()
    for height, width in ((64, 64), (40, 72), (8, 16), (33, 57)):
        scores = model.score_pixels(torch.randn(1, 3, height, width), labels(3))
        rows, columns = height // 8, width // 8
        assert scores.shape == (1, 3, 4 * rows, 4 * columns)  # stride 2
        assert bool(torch.isfinite(scores).all())


def test_hidden_tokens_are_those_that_the_tower_pools():
    tower = ViT(ViTConfig(image_size=32, patch=8, width=32, layers=3, heads=2), 16).eval()
    images = torch.randn(2, 3, 32, 32)
    (first, last), grid = tower.hidden(images, (0, 2))
    assert grid == (4, 4)
    torch.testing.assert_close(tower.projection(tower.norm_out(last[:, 0])), tower(images))
    assert first.shape == last.shape == (2, 17, 32)


@pytest.mark.parametrize("patches", [0.0, 0.3])
def test_scores_are_scaled_products_with_vectors_of_pixels(patches: float):
    model = lseg(patches=patches)
    images, head = torch.randn(2, 3, 64, 64), labels(5)
    vectors = model.encode_pixels(images)
    assert vectors.shape == (2, 32, 32, 32)
    if not patches:
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2, 32, 32))
    else:
        assert isinstance(model.image, ViT)
        own = F.normalize(model.image.embed_patches(images), dim=1)
        own = F.interpolate(own, size=(32, 32), mode="bilinear", align_corners=True)
        decoded = F.normalize(vectors - patches * own, dim=1)
        torch.testing.assert_close(vectors, (1 - patches) * decoded + patches * own)
    expected = torch.einsum("bchw,nc->bnhw", vectors, head) / 0.07
    torch.testing.assert_close(model.score_pixels(images, head), expected, rtol=1e-4, atol=1e-4)
    own = torch.stack([head, head.flip(0)])  # each picture with labels of its own
    torch.testing.assert_close(model.score_pixels(images, own)[1], expected[1].flip(0), rtol=1e-4, atol=1e-4)


def any_kernel(block: SpatialBlock) -> SpatialBlock:
    block.kernel.reset_parameters()
    return block


@pytest.mark.parametrize("block", ["depthwise", "bottleneck"])
@pytest.mark.parametrize("depth", [0, 1, 2, 4])
def test_in_another_order_labels_have_the_same_scores(block: str, depth: int):
    model = lseg(block=block, depth=depth)
    if depth:
        assert model.dense is not None
        any_kernel(model.dense.block)
    images, head, order = torch.randn(1, 3, 64, 64), labels(23), torch.randperm(23)
    expected = model.score_pixels(images, head)[:, order]
    torch.testing.assert_close(model.score_pixels(images, head[order]), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("block", ["depthwise", "bottleneck"])
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_a_new_block_leaves_the_winners_where_they_are(block: str, depth: int):
    # A random kernel turns them around as often as not, and at depth 1 training does not mend that.
    scores = torch.rand(2, 9, 12, 12)
    assert torch.equal(SpatialBlock(block, depth, "leaky_relu")(scores).argmax(dim=1), scores.argmax(dim=1))


@pytest.mark.parametrize("block", ["depthwise", "bottleneck"])
def test_blocks_are_the_papers_and_take_any_number_of_labels(block: str):
    module = any_kernel(SpatialBlock(block, 2, "leaky_relu"))
    assert sum(parameter.numel() for parameter in module.parameters()) == 10
    for count in (1, 2, 7):
        x = torch.randn(2, count, 5, 6)

        def once(x: Tensor, count: int = count) -> Tensor:
            weight = module.kernel.weight.expand(count, 1, 3, 3)
            y = F.conv2d(x, weight, module.kernel.bias.expand(count), padding=1, groups=count)  # type: ignore[union-attr]
            return y + x.max(dim=1, keepdim=True).values if block == "bottleneck" else y

        torch.testing.assert_close(module(x), once(F.leaky_relu(once(x), 0.01)))


def test_one_bottleneck_is_one_depthwise_under_a_softmax():
    bottleneck, depthwise = any_kernel(SpatialBlock("bottleneck", 1, "tanh")), SpatialBlock("depthwise", 1, "tanh")
    depthwise.load_state_dict(bottleneck.state_dict())
    x = torch.randn(2, 6, 8, 8)
    torch.testing.assert_close(bottleneck(x).softmax(dim=1), depthwise(x).softmax(dim=1))


def test_a_block_needs_a_depth_and_the_scale_is_fixed_unless_it_learns():
    plain, with_block = lseg(), lseg(depth=1)
    assert plain.dense is not None
    assert with_block.dense is not None
    assert plain.dense.block is None
    assert with_block.dense.state_dict().keys() - plain.dense.state_dict().keys() == {
        "block.kernel.weight",
        "block.kernel.bias",
    }
    assert not plain.dense.log_scale.requires_grad
    assert math.isclose(float(plain.dense.log_scale.exp()), 1 / 0.07, rel_tol=1e-6)
    learned = lseg(learn_scale=True).dense
    assert learned is not None
    assert learned.log_scale.requires_grad


def test_which_towers_can_have_it():
    register_backbone("flat", lambda: Flat())
    with pytest.raises(ValueError, match=r"needs the patch tokens of a Vision Transformer.*a backbone without levels"):
        convolutional(BackboneConfig(name="flat", image_size=32))
    with pytest.raises(ValueError, match=r"dense\.hooks are blocks of a ViT, and this tower is none"):
        convolutional(RESNET, hooks=(0, 1, 2, 3))
    with pytest.raises(ValueError, match="hooks are four of the blocks 0 to 1"):
        lseg(hooks=(0, 1, 2, 3))
    with pytest.raises(ValueError, match=r"the last of dense\.hooks is 1"):
        lseg(hooks=(0, 0, 0, 0), patches=0.5)
    with pytest.raises(ValueError, match="do not divide into groups of 8"):
        DualEncoder(preset("ViT-test").model_copy(update={"dense": LSegConfig(size=32, features=12)}))
    with pytest.raises(RequestError, match="gives no vectors of pixels"):
        DualEncoder(preset("ViT-test")).encode_pixels(torch.zeros(1, 3, 32, 32))


def test_towers_without_class_token_and_with_other_norms():
    image = ViTConfig(
        image_size=32, patch=8, width=32, layers=2, heads=2, class_token=False, norm_in=False, pool="attention"
    )
    for norm in ("batch", "none"):
        config = preset("ViT-test").model_copy(
            update={"image": image, "dense": LSegConfig(size=32, features=8, norm=norm, readout="ignore")}
        )
        assert DualEncoder(config).eval().score_pixels(torch.randn(1, 3, 32, 32), labels(2)).shape == (1, 2, 16, 16)


@pytest.mark.parametrize("image", [RESNET, EFFICIENTNET])
@pytest.mark.parametrize("patches", [0.0, 0.5])
def test_towers_of_convolutions_have_levels_of_their_own(image: ResNetConfig | BackboneConfig, patches: float):
    model, head = convolutional(image, patches=patches), labels(3)
    for height, width in ((64, 64), (96, 160)):
        images = torch.randn(2, 3, height, width)
        scores = model.score_pixels(images, head)
        assert scores.shape == (2, 3, height // 2, width // 2)
        vectors = torch.einsum("bchw,nc->bnhw", model.encode_pixels(images), head) / 0.07
        torch.testing.assert_close(scores, vectors, rtol=1e-4, atol=1e-4)


def test_scores_at_a_stride_of_4():
    model = convolutional(EFFICIENTNET, stride=4)
    assert model.dense is not None
    assert model.dense.stride == 4
    assert model.score_pixels(torch.randn(1, 3, 64, 96), labels(3)).shape == (1, 3, 16, 24)
    assert lseg(stride=4).score_pixels(torch.randn(1, 3, 64, 64), labels(3)).shape == (1, 3, 16, 16)


def test_depthwise_layers_learn_in_float32_and_serve_in_bfloat16():
    tower, images = convolutional(EFFICIENTNET).image, torch.rand(1, 3, 64, 64)
    seen: list[torch.dtype] = []
    for module in tower.modules():
        if isinstance(module, Depthwise):
            module.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        learnt = tower(images)
        with torch.no_grad():
            served = tower(images)
    assert set(seen[: len(seen) // 2]) == {torch.float32}
    assert set(seen[len(seen) // 2 :]) == {torch.bfloat16}
    torch.testing.assert_close(learnt, served, rtol=0.1, atol=0.1 * float(served.std()), check_dtype=False)


@pytest.mark.parametrize("image", [RESNET, EFFICIENTNET])
def test_levels_are_what_a_tower_finds_on_its_way_to_the_vector(image: ResNetConfig | BackboneConfig):
    model, images = convolutional(image), torch.randn(1, 3, 64, 64)
    tower = model.image
    assert isinstance(tower, ResNet | ImageBackbone)
    maps, patches = tower.levels(images)
    assert [map_.shape[1] for map_ in maps] == list(tower.channels)
    assert [64 // map_.shape[2] for map_ in maps] == [4, 8, 16, 32]
    assert patches.shape == (1, 32, 64 // tower.patch, 64 // tower.patch)
    if isinstance(tower, ImageBackbone):
        torch.testing.assert_close(patches.mean(dim=(2, 3)), tower(images), rtol=1e-4, atol=1e-5)


def test_a_model_without_it_is_written_as_before():
    config = preset("ViT-test")
    assert "dense" not in config.model_dump()
    dense = config.model_copy(update={"dense": LSegConfig(size=64)})
    assert DualEncoderConfig.model_validate(dense.model_dump()) == dense
    assert DualEncoderConfig.model_validate_json(dense.model_dump_json()) == dense
