"""What a teacher asks: against the formulas in float64, and with gradients from differences."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.objectives import Features, Similarities


def unit(seed: int, rows: int = 5, dim: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1)


def kl_of_rows(scale: float, image: Tensor, text: Tensor, their_scale: float, theirs: tuple[Tensor, Tensor]) -> float:
    """Entry by entry, as the definition says."""
    total = 0.0
    for i in range(len(image)):
        q = [math.exp(scale * float(image[i] @ text[j])) for j in range(len(text))]
        p = [math.exp(their_scale * float(theirs[0][i] @ theirs[1][j])) for j in range(len(text))]
        total += sum(b / sum(p) * math.log((b / sum(p)) / (a / sum(q))) for a, b in zip(q, p, strict=True))
    return total / len(image)


def test_features_are_half_the_squared_distance() -> None:
    image, text, theirs, their_text = (unit(seed) for seed in range(4))
    squares = ((image - theirs) ** 2).sum(dim=1).mean() + ((text - their_text) ** 2).sum(dim=1).mean()
    torch.testing.assert_close(Features()(image, text, theirs, their_text), squares / 4)
    # The mean square of CLIP-KD, with its weight, is this one with the weight that the docstring names.
    by_coordinate = F.mse_loss(image, theirs) + F.mse_loss(text, their_text)
    torch.testing.assert_close(2000 * by_coordinate, 8000 / 4 * Features()(image, text, theirs, their_text))
    assert Features()(image, text, image, text) == pytest.approx(0, abs=1e-15)


def test_similarities_are_the_divergence_of_both_directions() -> None:
    image, text = unit(0), unit(1)
    theirs = unit(2, dim=7), unit(3, dim=7)  # of a space of its own
    expected = kl_of_rows(3.0, image, text, 8.0, theirs) + kl_of_rows(3.0, text, image, 8.0, theirs[::-1])
    assert float(Similarities()(image, text, 3.0, *theirs, 8.0)) == pytest.approx(expected / 2, rel=1e-12)
    assert float(Similarities()(image, text, 3.0, image, text, 3.0)) == pytest.approx(0, abs=1e-15)
    turn = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64)).Q
    assert float(Similarities()(image, text, 3.0, image @ turn, text @ turn, 3.0)) == pytest.approx(0, abs=1e-12)


def test_gradients() -> None:
    leaves = [unit(seed).requires_grad_() for seed in (0, 1)]
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    same, other = (unit(2), unit(3)), (unit(2, dim=7), unit(3, dim=7))
    assert torch.autograd.gradcheck(lambda image, text: Features()(image, text, *same), leaves)
    assert torch.autograd.gradcheck(lambda i, t, s: Similarities()(i, t, s, *other, 8.0), [*leaves, scale])


def test_half_precision_is_summed_in_float32() -> None:
    image, text, theirs, their_text = (unit(seed, rows=64, dim=32) for seed in range(4))
    low = [tensor.to(torch.bfloat16) for tensor in (image, text, theirs, their_text)]
    exact = Features()(*(tensor.float() for tensor in low))
    assert Features()(*low) == exact
    assert Similarities()(low[0], low[1], 9.0, low[2], low[3], 20.0).dtype == torch.float32


def test_vectors_that_do_not_belong_together_are_refused() -> None:
    image, text = unit(0), unit(1)
    with pytest.raises(ValueError, match="one shape"):
        Features()(image, text, unit(2, dim=7), unit(3, dim=7))
    with pytest.raises(ValueError, match="of the 5 pairs, got 4"):
        Similarities()(image, text, 1.0, unit(2, rows=4), unit(3, rows=4), 1.0)
    with pytest.raises(ValueError, match="a text for each image"):
        Similarities()(image, text[:4], 1.0, unit(2), unit(3), 1.0)
