"""ModifiedResNet against the paper, written down once more in plain functions (no shared code, no modules)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.towers.resnet import ResNet, ResNetConfig

CONFIG = ResNetConfig(image_size=64, blocks=(1, 2, 1, 2), width=8, heads=4)


def reference(w: dict[str, Tensor], x: Tensor, config: ResNetConfig, training: bool = False) -> Tensor:
    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = (None, None) if training else (w[f"{name}.running_mean"], w[f"{name}.running_var"])
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], training=training)

    # The stem: three 3x3 convolutions, the first with stride 2, then an average pool.
    for number in (1, 2, 3):
        x = F.conv2d(x, w[f"conv{number}.weight"], stride=2 if number == 1 else 1, padding=1)
        x = norm(x, f"norm{number}").relu()
    x = F.avg_pool2d(x, 2)
    for stage, depth in enumerate(config.blocks):
        for block in range(depth):
            name = f"layers.{stage}.{block}"
            strides = stage > 0 and block == 0
            y = norm(F.conv2d(x, w[f"{name}.conv1.weight"]), f"{name}.norm1").relu()
            y = norm(F.conv2d(y, w[f"{name}.conv2.weight"], padding=1), f"{name}.norm2").relu()
            if strides:  # the pool takes the stride's place, on both ways
                y = F.avg_pool2d(y, 2)
            y = norm(F.conv2d(y, w[f"{name}.conv3.weight"]), f"{name}.norm3")
            if block == 0:
                x = F.avg_pool2d(x, 2) if strides else x
                x = norm(F.conv2d(x, w[f"{name}.shortcut.1.weight"]), f"{name}.shortcut.2")
            x = (x + y).relu()
    # The attention pool: the mean token is the one query.
    x_LBW = x.flatten(2).permute(2, 0, 1)
    x_LBW = torch.cat([x_LBW.mean(dim=0, keepdim=True), x_LBW]) + w["attention_pool.positions"][:, None]
    parts = ("query", "key", "value", "out")
    pool = {name: (w[f"attention_pool.{name}.weight"], w[f"attention_pool.{name}.bias"]) for name in parts}
    pooled, _ = F.multi_head_attention_forward(
        x_LBW[:1], x_LBW, x_LBW, x_LBW.shape[2], config.heads,
        in_proj_weight=None, in_proj_bias=torch.cat([pool[name][1] for name in parts[:3]]),
        bias_k=None, bias_v=None, add_zero_attn=False, dropout_p=0.0,
        out_proj_weight=pool["out"][0], out_proj_bias=pool["out"][1], training=False, need_weights=False,
        use_separate_proj_weight=True,
        q_proj_weight=pool["query"][0], k_proj_weight=pool["key"][0], v_proj_weight=pool["value"][0],
    )  # fmt: skip
    return pooled[0]


@pytest.fixture(scope="module")
def tower() -> ResNet:
    torch.manual_seed(0)
    tower = ResNet(CONFIG, embed_dim=20)
    ranges = {"weight": (0.7, 1.5), "bias": (-0.5, 0.5), "running_mean": (-0.1, 0.1), "running_var": (0.05, 0.2)}
    with torch.no_grad():
        for name, tensor in tower.state_dict().items():
            kind = name.rsplit(".")[-1]
            if kind in ranges and tensor.ndim == 1:
                tensor.uniform_(*ranges[kind])
    return tower


def pictures(count: int) -> Tensor:
    """Large patches of colour: noise would be averaged away on its way."""
    return torch.randn(count, 3, 4, 4).repeat_interleave(16, dim=2).repeat_interleave(16, dim=3)


@torch.no_grad()
def test_evaluation_agrees(tower: ResNet) -> None:
    images = pictures(2)
    ours, expected = tower.eval()(images), reference(tower.state_dict(), images, CONFIG)
    assert ours.shape == (2, 20)
    assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert (expected[0] - expected[1]).abs().max() > 1e-2 * expected.abs().max()


@torch.no_grad()
def test_training_uses_the_batch_s_statistics(tower: ResNet) -> None:
    images = pictures(4)
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    ours = tower.train()(images)
    expected = reference(before, images, CONFIG, training=True)
    assert (ours - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert not torch.equal(tower.state_dict()["norm1.running_mean"], before["norm1.running_mean"])
    tower.load_state_dict(before)


def test_sizes_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 32, not 100"):
        ResNet(CONFIG.model_copy(update={"image_size": 100}), 20)
    with pytest.raises(ValueError, match="does not divide into 7 heads"):
        ResNet(CONFIG.model_copy(update={"heads": 7}), 20)
