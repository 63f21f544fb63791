"""The memory of a step is foretold, and a batch that does not fit is refused before it is read."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sightword.data.pairs import PairList
from sightword.errors import RequestError
from sightword.training import budget
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import PAGE, equal, weights

# What a process holds at its height, less what it held after a step of a tiny model, beside what was foretold.
MEASURE = """
import sys
from types import SimpleNamespace
import torch
from sightword.data.images import ImageSpec
from sightword.data.pairs import Batch, Tokens
from sightword.objectives import InfoNCE
from sightword.towers.configs import DualEncoderConfig, ResNetConfig, TextConfig, ViTConfig
from sightword.towers.dual import DualEncoder
from sightword.towers.recompute import recompute_blocks
from sightword.training.allocator import give_memory_back
from sightword.training.budget import step_budget
from sightword.training.encoders import Encoders
from sightword.training.ranks import ALONE
from sightword.training.recipe import TrainingRecipe

torch.set_num_threads(1)
kind, rows = sys.argv[1], int(sys.argv[2])
recipe = TrainingRecipe(steps=1, batch_size=rows, lr=1, checkpoint_blocks=kind == "vit")


def make(width, layers):
    image = (
        ViTConfig(image_size=64, patch=8, width=2 * width, layers=layers, heads=4)
        if kind == "vit"
        else ResNetConfig(image_size=64, blocks=(1, layers, 1, 1), width=width // 4, heads=8)
    )
    text = TextConfig(vocabulary=1000, context=16, width=width, layers=2, heads=2)
    model = DualEncoder(DualEncoderConfig(embed_dim=128, image=image, text=text)).train()
    if recipe.checkpoint_blocks:
        recompute_blocks(model.image)
        recompute_blocks(model.text)
    return Encoders(model, ImageSpec(size=64), False), torch.optim.AdamW(model.parameters())


def batch(rows):
    images, ids = torch.zeros(rows, 3, 64, 64, dtype=torch.uint8), torch.ones(rows, 16, dtype=torch.int64)
    tokens = Tokens(ids, torch.full((rows,), 16))
    return Batch(images, tokens, torch.arange(rows)[:, None], ("",) * rows, torch.zeros(rows, dtype=torch.int64))


def step(encoders, optimizer, data):
    terms = encoders(data)
    loss = InfoNCE()(terms.image, terms.text, terms.scale)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))


if recipe.checkpoint_blocks:
    give_memory_back()
step(*make(32, 1), batch(4))
before = status("VmRSS")
encoders, optimizer = make(128, 5)
stepper = SimpleNamespace(encoders=encoders, world=ALONE, pieces=1, sharded=False)
foretold = step_budget(stepper, batch(4), recipe, 0).total
data = batch(rows)
for _ in range(3):
    step(encoders, optimizer, data)
print(foretold, status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="measured as Linux tells it")
@pytest.mark.parametrize(("kind", "rows"), [("vit", 48), ("resnet", 64)])
def test_what_is_foretold_is_what_is_taken(kind: str, rows: int):
    command = [sys.executable, "-c", MEASURE, kind, str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    foretold, taken = map(int, done.stdout.split())
    assert taken > 1e8
    assert 0.7 < foretold / taken < 1.3, (foretold, taken)


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Recipe]:
    (tmp_path / "recipe.toml").write_text(PAGE)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", ["training.steps=2", *changes])


def test_a_batch_that_does_not_fit_is_refused_with_the_term_and_a_way_out(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(budget, "free_memory", lambda device: 400_000_000)
    with pytest.raises(RequestError, match=r"does not fit.*Most of it are the activations: set training\.micro_batch"):
        train(recipe("training.batch_size=40000", "data.workers=0"), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()
    with pytest.raises(RequestError, match=r"pictures read ahead: lower training\.batch_size"):
        train(recipe("training.batch_size=900000", "training.micro_batch=8"), tmp_path / "run", pairs)
    monkeypatch.setattr(budget, "free_memory", lambda device: 100_000_000)
    with pytest.raises(RequestError, match="Most of it are the optimizer"):
        train(recipe("model.text.width=1024"), tmp_path / "run", pairs)


def test_the_budget_is_told_and_logged_and_changes_nothing(
    recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told: list[str] = []
    train(recipe("training.ema=0.9"), tmp_path / "run", pairs, announce=told.append)
    (event,) = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "memory"]
    assert event["gradients"] * 2 == event["optimizer"]
    assert event["average"] == event["weights"]  # nothing is locked, and all is float
    assert event["activations"] > 0
    assert len(told) == 1
    assert "activations" in told[0]
    monkeypatch.setattr(budget, "_activations", lambda *_: (0, 0, 0))
    train(recipe("training.ema=0.9"), tmp_path / "unmeasured", pairs)
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "unmeasured"))


def test_the_memory_of_a_container(tmp_path: Path):
    assert budget._container(tmp_path) is None
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert budget._container(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert budget._container(tmp_path) is None
