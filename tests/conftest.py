"""What several rooms' tests share: small pictures, a trained tokenizer, a small model and its checkpoint folder."""

from __future__ import annotations

import os

# Before torch is imported, and for every process that a test starts: several workers of several threads each would stop
# one another on few cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# No test leaves anything in its user's cache folder.
os.environ["SIGHTWORD_CACHE"] = ""
# No test asks the network: a name that is no folder is looked for in the Hub's cache, and that is none of the user's.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = "/nonexistent"

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

import sightword
from benchmarks.peers import declare_operators, import_open_clip
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import Tokenizer, train_tokenizer
from sightword.model import Model
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import preset

# A busy machine is no failure.
settings.register_profile("sightword", deadline=None)
settings.load_profile("sightword")

# transformers imports torchvision where that is installed, and torchvision may be a build for another torch.
declare_operators()

TEXTS = (
    "a red circle",
    "a green square",
    "a blue triangle",
    "a yellow star on a dark sky",
    "the flag of a country",
    "grinning face with big eyes",
    "café crème",
    "woman's hat",
)


def make_picture(width: int, height: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """A picture without symmetry: smooth waves of colour, so that a shift, a flip or another filter shows."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / max(width, height)
    bands = len(Image.new(mode, (1, 1)).getbands())
    waves = [np.sin(9 * (a * x + b * y) + c) for a, b, c in rng.uniform(-1, 1, (bands, 3)) * (1, 1, 3)]
    values = np.round((np.stack(waves, axis=-1) + 1) * 127.5).astype(np.uint8)
    return Image.fromarray(
        values if bands > 1 else values[:, :, 0], mode=None if mode in ("RGB", "RGBA", "L") else mode
    )


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    return make_picture


@pytest.fixture(scope="session")
def image_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Eight different pictures on disk, of several sizes and formats. Read only."""
    folder = tmp_path_factory.mktemp("images")
    files = []
    for number, (width, height) in enumerate(
        [(40, 40), (57, 33), (32, 32), (31, 64), (20, 90), (48, 36), (33, 47), (64, 64)]
    ):
        file = folder / f"{number}.{'png' if number % 2 else 'jpg'}"
        make_picture(width, height, seed=number).save(file)
        files.append(file)
    return files


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS, vocabulary=320, context=16)


@pytest.fixture(scope="session")
def contract(tokenizer: Tokenizer) -> Contract:
    architecture = preset("ViT-test")
    text = architecture.text.model_copy(update={"vocabulary": tokenizer.vocabulary, "context": tokenizer.spec.context})
    return Contract(
        architecture=architecture.model_copy(update={"text": text}),
        image=ImageSpec(size=architecture.image.image_size),
        text=tokenizer.spec,
    )


@pytest.fixture(scope="session")
def encoder(contract: Contract) -> DualEncoder:
    """A small dual encoder. Its weights are larger than at the start of a training, and its biases and norms random:
    otherwise all of its vectors would be near to each other, and a mistake would hardly show."""
    torch.manual_seed(0)
    model = DualEncoder(contract.architecture).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name != "log_scale":
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


@pytest.fixture(scope="session")
def checkpoint(
    tmp_path_factory: pytest.TempPathFactory, encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer
) -> Path:
    """A checkpoint folder. Read only: copy it to damage it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(folder, encoder, contract, tokenizer)
    return folder


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Model:
    return sightword.load(checkpoint, device="cpu")


@pytest.fixture(scope="session")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers", reason="the reference for CLIPModel")


@pytest.fixture(scope="session")
def open_clip() -> ModuleType:
    try:
        return import_open_clip()
    except ImportError:
        pytest.skip("open_clip is not installed: make peers")
