"""Compiled towers: the same gradients, a bounded number of compilations, and nothing else changed."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from sightword.data.pairs import Tokens
from sightword.errors import RequestError
from sightword.towers.compiled import Compiled
from sightword.towers.configs import ViTConfig
from sightword.towers.lora import add_lora
from sightword.towers.recompute import recompute_blocks
from sightword.towers.tower import Tower
from sightword.towers.vit import ViT
from tests.towers.test_recompute import make

SIZES = ((4, 16), (7, 9), (9, 5), (16, 16), (2, 8))  # pictures or texts, tokens of the longest


class Counting:
    """A compiler that leaves every graph as it is, and counts: what it compiled, and how often that ran."""

    def __init__(self) -> None:
        self.compiled = self.ran = 0

    def __call__(self, graph: torch.fx.GraphModule, examples: list[Tensor]) -> object:
        self.compiled += 1

        def run(*values: object) -> object:
            self.ran += 1
            return graph.forward(*values)

        return run


def given(kind: str, rows: int, length: int, padded: bool) -> object:
    if kind not in ("text", "bert"):
        return torch.randn(rows, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    lengths = torch.full((rows,), length)
    lengths[1:] = lengths[1:] // (2 if padded else 1)
    return Tokens(torch.randint(1, 30, (rows, length)), lengths)


def gradients(tower: Tower, kind: str, rows: int, length: int, padded: bool) -> list[Tensor]:
    torch.manual_seed(rows)
    tower.zero_grad()
    y = tower(given(kind, rows, length, padded))
    (y * torch.randn_like(y)).sum().backward()
    return [parameter.grad for parameter in tower.parameters() if parameter.grad is not None]


def learn(tower: Tower, kind: str, recomputed: bool = False) -> None:
    compiled = Compiled(tower, recomputed=recomputed)
    if recomputed:
        recompute_blocks(tower)
    with compiled.learn("compile"):
        for rows, length in ((16, 13), (15, 14)):
            for padded in (True, False):
                gradients(tower, kind, rows, length, padded)


@pytest.mark.parametrize("kind", ["vit lora", "resnet", "backbone", "text again"])
def test_every_size_runs_through_what_was_compiled(kind: str):
    kind, *more = kind.split()
    written, tower = make(kind).train(), make(kind).train()
    for one in (written, tower):
        if "lora" in more:
            torch.manual_seed(0)
            add_lora(one, ["qkv", "fc1"], rank=2, alpha=4)
    torch._dynamo.reset()
    count = Counting()
    names = list(tower.state_dict())
    with torch.compiler.set_stance(force_backend=count):
        learn(tower, kind, "again" in more)
    tower.load_state_dict(written.state_dict())  # BatchNorm has learned as well
    assert list(tower.state_dict()) == names
    compiled = count.compiled
    assert 0 < compiled <= 16
    for rows, length in SIZES:
        for padded in (True, False):
            count.ran = 0
            same = gradients(tower, kind, rows, length, padded)
            pieces = 1 if kind in ("resnet", "backbone") and not more else len(list(tower.stages())) - 1
            assert count.ran >= pieces
            expected = gradients(written, kind, rows, length, padded)
            assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(same, expected, strict=True))
    assert count.compiled == compiled


def test_what_was_not_learned_runs_as_written():
    tower, count = make("vit").train(), Counting()
    torch._dynamo.reset()
    with torch.compiler.set_stance(force_backend=count):
        learn(tower, "vit")
    compiled, count.ran = count.compiled, 0
    with torch.no_grad():
        assert torch.equal(tower(torch.ones(1, 3, 32, 32)), make("vit").train()(torch.ones(1, 3, 32, 32)))
    assert (count.compiled, count.ran) == (compiled, 0)


def test_until_it_learns_a_tower_runs_as_written():
    tower = make("vit")
    Compiled(tower)
    assert torch.equal(tower(torch.ones(2, 3, 32, 32)), make("vit")(torch.ones(2, 3, 32, 32)))


def test_the_real_compiler_gives_the_same_gradients():
    config = ViTConfig(image_size=32, patch=8, width=16, layers=1, heads=2)
    torch.manual_seed(0)
    written, tower = ViT(config, 8), ViT(config, 8)
    tower.load_state_dict(written.state_dict())
    torch._dynamo.reset()
    learn(tower, "vit")
    for rows in (3, 16):
        pairs = zip(gradients(tower, "vit", rows, 1, False), gradients(written, "vit", rows, 1, False), strict=True)
        assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def test_no_compiler_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (str(tmp_path / "no-such-compiler"),))
    torch._dynamo.reset()
    with pytest.raises(RequestError, match=r"compile: torch cannot compile this model here .*g\+\+"):
        learn(make("vit"), "vit")
