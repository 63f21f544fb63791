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


def test_lower_blocks_learn_slower(tmp_path: Path):
    (tmp_path / "r.toml").write_text(PAGE)
    recipe = read_recipe(tmp_path / "r.toml", ["training.layer_decay=0.5", "training.scale_lr=3.0"])
    model = DualEncoder(preset("ViT-test"))  # two blocks a tower
    optimizer = make_optimizer(model, recipe)
    found = {id(p): (group["rate"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    embeddings = ("patches.", "tokens.", "positions", "class_token", "norm_in.")
    for name, parameter in model.named_parameters():
        inner = name.partition(".")[2]
        expected = 0.125 if inner.startswith(embeddings) else 1.0
        expected = {"blocks.0": 0.25, "blocks.1": 0.5}.get(inner[:8], expected)
        assert found[id(parameter)] == (
            3.0 if name == "log_scale" else expected,
            recipe.training.decay if parameter.ndim >= 2 else 0.0,
        ), name
    assert len(found) == len(list(model.parameters()))
