"""Compiled towers: the same gradients, a bounded number of compilations, and nothing else changed."""

import pytest
import torch
from torch import Tensor, nn

from sightword.data.pairs import Tokens
from sightword.towers.compiled import Compiled
from sightword.towers.lora import add_lora
from sightword.towers.recompute import recompute_blocks
from sightword.towers.tower import Tower
from tests.towers.test_recompute import make

SIZES = ((4, 16), (7, 9), (3, 12), (9, 5), (16, 16), (2, 8))  # pictures or texts, tokens of the longest


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
        for rows, length in ((5, 13), (6, 14)):
            for padded in (True, False):
                gradients(tower, kind, rows, length, padded)


@pytest.mark.parametrize("kind", ["vit", "resnet", "backbone", "text", "bert", "vit lora", "text again", "resnet again"])
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
    assert 0 < compiled <= 8
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
    assert isinstance(tower, nn.Module)
    assert torch.equal(tower(torch.ones(2, 3, 32, 32)), make("vit")(torch.ones(2, 3, 32, 32)))
