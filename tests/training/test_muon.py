"""Muon: matrices by orthogonal updates, everything else by AdamW."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sightword.training.muon import Muon, matrices, orthogonal


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 3, bias=False), nn.Flatten(), nn.Linear(96, 5))


def optimizer(model: nn.Module) -> Muon:
    chosen = matrices(model)
    mine = [p for p in model.parameters() if id(p) in chosen]
    rest = [p for p in model.parameters() if id(p) not in chosen]
    groups = [{"params": mine, "muon": True, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return Muon(groups, lr=0.01, betas=(0.9, 0.98), eps=1e-6)


def learn(model: nn.Module, moves: Muon, steps: int, seed: int = 1) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        moves.zero_grad()
        model(torch.randn(16, 3, 8, 8, generator=generator)).square().sum().backward()
        moves.step()


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (8, 8)])
def test_an_update_is_nearly_orthogonal_and_keeps_its_directions(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    made = orthogonal(matrix)
    assert made.shape == matrix.shape
    values = torch.linalg.svdvals(made)
    assert ((values > 0.5) & (values < 1.4)).all()
    U, _, V = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(made.flatten(), (U @ V).flatten(), dim=0) > 0.97


@pytest.mark.parametrize(("has", "kind"), [("bf16", torch.bfloat16), ("fp16", torch.float32), (None, torch.float32)])
def test_the_iteration_is_in_bf16_only_where_the_device_computes_in_it(
    has: str | None, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sightword.training.muon.half_precision", lambda device: has)
    seen: list[torch.dtype] = []
    addmm = torch.addmm

    def watched(*parts: torch.Tensor, **scales: float) -> torch.Tensor:
        seen.extend(part.dtype for part in parts)
        return addmm(*parts, **scales)

    monkeypatch.setattr(torch, "addmm", watched)
    made = orthogonal(torch.randn(6, 20, generator=torch.Generator().manual_seed(0)))
    assert set(seen) == {kind}
    assert made.dtype == torch.float32


def test_which_weights_are_matrices() -> None:
    model = network()
    assert matrices(model) == {id(model[1].weight), id(model[3].weight)}  # not the one that looks at pixels


def test_a_step_is_the_definition() -> None:
    model = network()
    before = model[3].weight.detach().double().numpy().copy()
    moves = optimizer(model)
    learn(model, moves, 1)
    gradient = model[3].weight.grad
    assert gradient is not None
    g = gradient.double().numpy()
    ahead = 0.05 * g + 0.95 * (0.05 * g)  # Nesterov's look ahead of the first step
    x = ahead / np.linalg.norm(ahead)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    expected = before * (1 - 0.01 * 0.1) - 0.01 * 0.2 * np.sqrt(96) * x
    moved = np.linalg.norm(expected - before)
    assert np.linalg.norm(model[3].weight.detach().numpy() - expected) < 0.03 * moved  # bfloat16 inside


def test_all_that_is_no_matrix_moves_by_adamw() -> None:
    one, other = network(), network()
    learn(one, optimizer(one), 1)
    plain = torch.optim.AdamW(other.parameters(), lr=0.01, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.0)
    other(torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    plain.step()
    assert torch.equal(one[0].weight, other[0].weight)
    assert torch.equal(one[3].bias, other[3].bias)
    assert not torch.equal(one[3].weight, other[3].weight)


def test_gradients_are_still_there_after_a_step() -> None:
    model = network()
    learn(model, optimizer(model), 1)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_a_run_goes_on_from_its_state_to_the_bit() -> None:
    straight = network()
    learn(straight, moves := optimizer(straight), 3)
    halfway, state = copy.deepcopy(straight), copy.deepcopy(moves.state_dict())
    learn(straight, moves, 3, seed=2)
    resumed = optimizer(halfway)
    resumed.load_state_dict(state)
    learn(halfway, resumed, 3, seed=2)
    for one, other in zip(straight.parameters(), halfway.parameters(), strict=True):
        assert torch.equal(one, other)
