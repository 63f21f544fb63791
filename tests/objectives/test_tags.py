"""The loss of pictures and the names of all that they show, against its definition."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sightword.objectives import Tagging

NAMES = [["cat", "dog"], ["dog"], [], ["tree", "cat", "car"]]
LABELS = {"cat": 7, "dog": -3, "tree": 2**40, "car": 1}


def made(names: list[list[str]] = NAMES) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    images = F.normalize(torch.randn(len(names), 5, generator=rng, dtype=torch.float64), dim=1).requires_grad_()
    word = {name: F.normalize(torch.randn(5, generator=rng, dtype=torch.float64), dim=0) for name in LABELS}
    said = [name for some in names for name in some]
    tags = (torch.stack([word[name] for name in said]) if said else torch.empty(0, 5).double()).requires_grad_()
    return images, tags, torch.tensor([LABELS[name] for name in said]).long(), torch.tensor([*map(len, names)])


def by_definition(images: Tensor, tags: Tensor, scale: float, names: list[list[str]]) -> Tensor:
    said = [name for some in names for name in some]
    word = {name: tags[said.index(name)] for name in said}
    shown = [row for row, some in enumerate(names) if some]
    by_picture = []
    for row in shown:
        total = sum(math.e ** (scale * images[row] @ vector) for vector in word.values())
        chances = [math.e ** (scale * images[row] @ word[name]) / total for name in names[row]]
        by_picture.append(-sum(chance.log() for chance in chances) / len(chances))
    by_name = []
    for name, vector in word.items():
        total = sum(math.e ** (scale * images[row] @ vector) for row in shown)
        chances = [math.e ** (scale * images[row] @ vector) / total for row in shown if name in names[row]]
        by_name.append(-sum(chance.log() for chance in chances) / len(chances))
    return (sum(by_picture) / len(by_picture) + sum(by_name) / len(by_name)) / 2


def test_the_loss_is_its_definition() -> None:
    images, tags, labels, counts = made()
    found, expected = Tagging()(images, tags, 9.0, labels, counts), by_definition(images, tags, 9.0, NAMES)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
    for ours, theirs in zip(*(torch.autograd.grad(loss, (images, tags)) for loss in (found, expected)), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-13)


def test_pictures_whose_names_are_not_known_have_no_part() -> None:
    images, tags, labels, counts = made()
    (loss,) = torch.autograd.grad(Tagging()(images, tags, 9.0, labels, counts), images)
    assert not loss[2].any()
    kept = [0, 1, 3]
    assert Tagging()(images[kept], tags, 9.0, labels, counts[kept]) == Tagging()(images, tags, 9.0, labels, counts)


@pytest.mark.parametrize("names", [[[], []], []])
def test_without_any_name_there_is_nothing_to_learn(names: list[list[str]]) -> None:
    images, tags, labels, counts = made(names)
    loss = Tagging()(images, tags, 9.0, labels, counts)
    loss.backward()
    assert loss == 0
    assert not images.grad.any()


def test_pictures_that_show_the_same_share_it() -> None:
    """Two pictures of one name: the best that can be is even odds between them, and no more than that is asked."""
    vector = torch.tensor([[1.0, 0.0]])
    loss = Tagging()(vector.repeat(2, 1), vector.repeat(2, 1), 50.0, torch.tensor([4, 4]), torch.tensor([1, 1]))
    assert float(loss) == pytest.approx(math.log(2) / 2, abs=1e-6)
