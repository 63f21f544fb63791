"""Decay on matrices only, the schedule, the average of the weights."""

import math
from pathlib import Path

import pytest
import torch

from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset
from sightword.training.optimizer import Average, learning_rate, make_optimizer
from sightword.training.recipe import TrainingRecipe, read_recipe
from tests.training.test_recipe import PAGE


def test_only_matrices_decay(tmp_path: Path):
    (tmp_path / "r.toml").write_text(PAGE)
    model = DualEncoder(preset("ViT-test"))
    optimizer = make_optimizer(model, read_recipe(tmp_path / "r.toml", ["training.decay=0.3"]))
    decaying = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (id(parameter) in decaying) == (parameter.ndim >= 2), name
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(model.parameters()))


def test_warm_up_then_cosine_to_zero():
    training = TrainingRecipe(steps=110, batch_size=1, lr=2.0, warmup=10)
    assert [learning_rate(training, step) for step in (0, 4, 9)] == pytest.approx([0.2, 1.0, 2.0])
    assert learning_rate(training, 10) == pytest.approx(2.0)
    assert learning_rate(training, 60) == pytest.approx(1.0)
    assert learning_rate(training, 110) == pytest.approx(0.0)


def test_the_average_follows_the_weights():
    model = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    average = Average(model, 0.5)
    expected = 0.0
    for step in range(1, 6):
        torch.nn.init.constant_(model.weight, step)
        average.update(model)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * step
    assert math.isclose(float(average.state["weight"]), expected, rel_tol=1e-6)
