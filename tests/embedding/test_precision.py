"""Half precision is near to float32 in every kind of tower, and is chosen where a measurement says so."""

from __future__ import annotations

import copy
import logging
from typing import Any

import pytest
import torch

from sightword.checkpoints.contract import Contract
from sightword.data.tokenizer import Tokenizer
from sightword.embedding import precision
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError, SightwordWarning
from sightword.towers.configs import ResNetConfig, ViTConfig
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.tower import Tower
from tests.checkpoints.conftest import settle
from tests.conftest import make_picture

CPU = torch.device("cpu")
TOWERS = {
    "class": ViTConfig(image_size=32, patch=8, width=64, layers=12, heads=4),
    "average": ViTConfig(image_size=32, patch=8, width=64, layers=12, heads=4, class_token=False, pool="average"),
    "attention": ViTConfig(image_size=32, patch=8, width=64, layers=12, heads=4, class_token=False, pool="attention"),
    "resnet": ResNetConfig(image_size=64, blocks=(1, 2, 1, 1), width=16, heads=4),
}


@pytest.mark.parametrize("kind", TOWERS)
def test_bf16_weights_are_close_to_fp32(contract: Contract, tokenizer: Tokenizer, kind: str) -> None:
    torch.manual_seed(0)
    image = TOWERS[kind]
    architecture = DualEncoderConfig(embed_dim=48, image=image, text=contract.architecture.text)
    told = contract.model_copy(
        update={
            "architecture": architecture,
            "image": contract.image.model_copy(update={"size": image.image_size}),
        }
    )
    model = DualEncoder(architecture).eval()
    settle(model.image, image.image_size)
    exact = Embedder(copy.deepcopy(model), told, tokenizer, device="cpu")
    half = Embedder(model, told, tokenizer, device="cpu", precision="bf16")
    assert {weight.dtype for weight in half.model.image.parameters()} == {torch.bfloat16}
    pictures = [make_picture(80, 64, seed) for seed in range(6)]
    ours, theirs = half.embed_images(pictures), exact.embed_images(pictures)
    assert (ours * theirs).sum(axis=1).min() >= 0.999
    texts = ["a red circle", "the flag of a country", "x"]
    assert (half.embed_texts(texts) * exact.embed_texts(texts)).sum(axis=1).min() >= 0.999
    # The precision is what differs, and the pictures do differ.
    assert (theirs @ theirs.T).min() < 0.99


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch) -> dict[torch.dtype, float]:
    """Seconds that a tower of each type seems to take. Sizes do not matter here, and nothing is remembered."""
    seconds = {torch.float32: 1.0, torch.bfloat16: 0.5}

    def pretend(tower: Tower, pictures: torch.Tensor) -> float:
        assert next(tower.parameters()).dtype == pictures.dtype
        runs.append(pictures.dtype)
        return seconds[pictures.dtype]

    runs: list[torch.dtype] = []
    monkeypatch.setattr(precision, "_SMALL", 0)
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setattr(precision, "_seconds", pretend)
    monkeypatch.setattr(precision, "half_precision", lambda device: "bf16")
    return seconds


def made(encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, **options: Any) -> Embedder:
    return Embedder(copy.deepcopy(encoder), contract, tokenizer, device="cpu", **options)


@pytest.mark.parametrize(("half", "chosen"), [(0.5, "bf16"), (0.95, "fp32"), (3.0, "fp32")])
def test_auto_takes_the_faster_and_says_so(
    encoder: DualEncoder,
    contract: Contract,
    tokenizer: Tokenizer,
    timed: dict[torch.dtype, float],
    caplog: pytest.LogCaptureFixture,
    half: float,
    chosen: str,
) -> None:
    timed[torch.bfloat16] = half
    with caplog.at_level(logging.INFO, logger="sightword"):
        embedder = made(encoder, contract, tokenizer, precision="auto")
    assert embedder.precision == chosen
    assert next(embedder.model.text.parameters()).dtype == precision.DTYPES[embedder.precision]
    assert f"precision {chosen} on cpu" in caplog.text


def test_auto_measures_once_and_the_others_never(
    encoder: DualEncoder,
    contract: Contract,
    tokenizer: Tokenizer,
    timed: dict[torch.dtype, float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert made(encoder, contract, tokenizer, precision="auto").precision == "bf16"
    monkeypatch.setattr(precision, "_seconds", lambda *_: pytest.fail("measured"))
    assert made(encoder, contract, tokenizer, precision="auto").precision == "bf16"
    assert made(encoder, contract, tokenizer, precision="fp32").precision == "fp32"
    assert made(encoder, contract, tokenizer).precision == "fp32"


def test_a_small_model_and_a_plain_device_stay_exact(encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setattr(precision, "_seconds", lambda *_: pytest.fail("measured"))
    assert precision.choose("auto", encoder, CPU) == "fp32"
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setattr(precision, "_SMALL", 0)
    monkeypatch.setattr(precision, "half_precision", lambda device: None)
    assert precision.choose("auto", encoder, CPU) == "fp32"


def test_the_measurement_is_one_of_time(encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_measured", {})
    monkeypatch.setattr(precision, "_SMALL", 0)
    assert precision.choose("auto", encoder, CPU) in ("fp32", "bf16")
    assert next(encoder.parameters()).dtype == torch.float32  # a copy was measured


def test_fp16_on_a_cpu_is_refused(encoder: DualEncoder) -> None:
    with pytest.raises(RequestError, match="fp16 is for GPUs"):
        precision.choose("fp16", encoder, CPU)


def test_bf16_on_a_cpu_without_instructions_for_it_is_said_to_be_slow(
    encoder: DualEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "half_precision", lambda device: None)
    with pytest.warns(SightwordWarning, match="'auto' takes fp32 here"):
        assert precision.choose("bf16", encoder, CPU) == "bf16"
