"""The sigmoid loss against the formula in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.objectives import Sigmoid, tiles


def vectors(rows: int = 9, dim: int = 6, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    return [F.normalize(rows_BD, dim=1) for rows_BD in made]


def plain(image: Tensor, text: Tensor, scale: Tensor, bias: Tensor, positive: Tensor) -> Tensor:
    sign = 2.0 * positive - 1
    return -F.logsigmoid(sign * (scale * image @ text.T + bias)).sum() / len(image)


@pytest.fixture(params=[(1024, 2048), (3, 2)], ids=["one tile", "many tiles"], autouse=True)
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiles._TILE, "cpu", request.param)


@pytest.mark.parametrize("labels", [None, [0, 1, 2, 3, 1, 5, 6, 6, 6]], ids=["no labels", "duplicates"])
@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (110.0, -16.0), (1.0, 0.0)])
def test_loss_and_gradients(labels: list[int] | None, scale: float, bias: float) -> None:
    marks = None if labels is None else torch.tensor(labels)
    positive = torch.eye(9, dtype=torch.float64) if marks is None else (marks[:, None] == marks).double()
    numbers = (torch.tensor(scale).double(), torch.tensor(bias).double())
    ours, theirs = ([leaf.clone().requires_grad_() for leaf in (*vectors(), *numbers)] for _ in range(2))
    loss = Sigmoid()(*ours, marks)
    expected = plain(*theirs, positive)
    (3 * loss).backward()
    (3 * expected).backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)  # softplus is cut to its argument above 20
    for one, other in zip(ours, theirs, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-13)


def test_further_texts_are_negatives_unless_their_label_says_otherwise() -> None:
    image, text = vectors()
    more, labels = vectors(seed=1)[0][:4], torch.arange(9)
    positive = torch.cat([torch.eye(9), torch.zeros(9, 4)], dim=1)
    scale, bias = torch.tensor(12.0), torch.tensor(-3.0)
    both = torch.cat([text, more])
    assert Sigmoid()(image, text, 12.0, -3.0, labels, more).item() == pytest.approx(
        plain(image, both, scale, bias, positive).item(), rel=1e-12
    )
    positive[2, 9] = 1
    found = Sigmoid()(image, text, 12.0, -3.0, labels, more, torch.tensor([2, 77, 78, 79]))
    assert found.item() == pytest.approx(plain(image, both, scale, bias, positive).item(), rel=1e-12)
    more = more.clone().requires_grad_()
    found = Sigmoid()(image, text, 12.0, -3.0, labels, more)
    found.backward()
    (expected,) = torch.autograd.grad(
        plain(image, torch.cat([text, more]), scale, bias, torch.cat([torch.eye(9), torch.zeros(9, 4)], 1)), more
    )
    assert more.grad is not None
    torch.testing.assert_close(more.grad, expected)


def test_finite_differences() -> None:
    inputs = [t.requires_grad_() for t in (*vectors(4, 3), torch.tensor(5.0).double(), torch.tensor(-1.0).double())]
    assert torch.autograd.gradcheck(lambda *x: Sigmoid()(*x, torch.tensor([1, 2, 1, 3])), inputs)


def test_the_start_of_siglip() -> None:
    # With every cosine at zero each negative costs log(1 + e^bias) and each positive log(1 + e^-bias).
    image, text = torch.eye(16)[:8], torch.eye(16)[8:]
    expected = 7 * math.log1p(math.exp(-10)) + math.log1p(math.exp(10))
    assert Sigmoid()(image, text, 10.0, -10.0).item() == pytest.approx(expected, rel=1e-6)


def test_without_gradients_only_the_loss_is_made() -> None:
    image, text = vectors()
    with torch.no_grad():
        loss = Sigmoid()(image.requires_grad_(), text, 10.0, -10.0)
    assert loss.grad_fn is None


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs two \[B, D\] of one shape"):
        Sigmoid()(torch.zeros(3, 4), torch.zeros(2, 4), 1.0, 0.0)
