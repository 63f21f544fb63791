"""Alignment against float64 arithmetic."""

import numpy as np
import pytest
import torch

from sightword.objectives import Alignment


def test_value_and_gradient():
    rng = np.random.default_rng(0)
    image, text = (rng.normal(size=(5, 3)) for _ in range(2))
    image, text = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (image, text))
    image_BD = torch.tensor(image, requires_grad=True)
    loss = Alignment()(image_BD, torch.tensor(text))
    loss.backward()
    assert loss.item() == pytest.approx(np.mean(2 - 2 * np.sum(image * text, axis=1)))
    assert image_BD.grad is not None
    np.testing.assert_allclose(image_BD.grad.numpy(), 2 * (image - text) / 5, atol=1e-12)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        Alignment()(torch.zeros(2, 3), torch.zeros(3, 3))
