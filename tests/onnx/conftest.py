"""Folders with exported models: each export takes seconds, so the tests share them. Read only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import TextSpec, Tokenizer
from sightword.towers import backbone
from sightword.towers.backbone import BackboneConfig, TextEncoderConfig
from sightword.towers.bert import BertConfig
from sightword.towers.dual import DualEncoder, DualEncoderConfig, ImageConfig, TextTowerConfig
from sightword.towers.resnet import ResNetConfig
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig
from tests.checkpoints import conftest as theirs

pytest.importorskip("onnx", reason="pip install 'sightword[export]'")
pytest.importorskip("onnxscript", reason="pip install 'sightword[export]'")
pytest.importorskip("onnxruntime", reason="pip install 'sightword[export]'")

from sightword.onnx.export import export_onnx

clip_tokenizer, special_ids, make_transformers = theirs.clip_tokenizer, theirs.special_ids, theirs.make_transformers

Save = Callable[..., Path]


@pytest.fixture(scope="session")
def save(tokenizer: Tokenizer) -> Save:
    """Write a checkpoint folder of these towers, with random weights."""

    def write(
        folder: Path, image: ImageConfig, text: TextTowerConfig, prepared: TextSpec = tokenizer.spec, bias: bool = False
    ) -> Path:
        architecture = DualEncoderConfig(embed_dim=24, image=image, text=text, bias=bias)
        spec = ImageSpec(size=image.image_size, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
        torch.manual_seed(0)
        model = DualEncoder(architecture)
        theirs.settle(model.image, image.image_size)
        contract = Contract(architecture=architecture, image=spec, text=prepared)
        save_checkpoint(folder, model, contract, Tokenizer(tokenizer.engine, prepared))
        return folder

    return write


@pytest.fixture(scope="session")
def transformers_folder(
    tmp_path_factory: pytest.TempPathFactory, make_transformers: Callable[..., tuple[Path, Any]]
) -> tuple[Path, Path, Any]:
    """A checkpoint folder that transformers saved, its export, and the CLIPModel."""
    folder, model = make_transformers()
    out = tmp_path_factory.mktemp("exported") / "vit"
    export_onnx(folder, out)
    return folder, out, model


@pytest.fixture(scope="session")
def resnet_folder(
    tmp_path_factory: pytest.TempPathFactory, save: Save, tokenizer: Tokenizer, contract: Contract
) -> tuple[Path, Path]:
    """ModifiedResNet and causal Transformer, and their export with texts of fixed length."""
    folder = tmp_path_factory.mktemp("exported")
    image = ResNetConfig(image_size=32, blocks=(1, 1, 1, 1), width=8, heads=4)
    text = contract.architecture.text.model_copy(update={"layers": 1})
    source = save(folder / "model", image, text)
    export_onnx(source, folder / "resnet", text_length="fixed")
    return source, folder / "resnet"


@pytest.fixture(scope="session")
def pretrained_folder(tmp_path_factory: pytest.TempPathFactory, save: Save, tokenizer: Tokenizer) -> tuple[Path, Path]:
    """The kinds of towers that the quickstart brings, EfficientNet and BERT, and their export."""
    folder = tmp_path_factory.mktemp("exported")
    encoder = BertConfig(
        vocabulary=tokenizer.vocabulary, positions=20, segments=2, width=32, layers=1, heads=2, mlp_width=48,
        activation="gelu", eps=1e-12,
    )  # fmt: skip
    image = BackboneConfig(name="efficientnet-lite0", image_size=64)
    source = save(folder / "model", image, TextEncoderConfig(encoder=encoder, context=tokenizer.spec.context))
    export_onnx(source, folder / "pretrained")
    return source, folder / "pretrained"


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory, save: Save, tokenizer: Tokenizer) -> tuple[Path, Path]:
    """SigLIP's towers, and their export: texts are of fixed length without being asked for."""
    folder = tmp_path_factory.mktemp("exported")
    image = ViTConfig(
        image_size=32, patch=8, width=24, layers=1, heads=2, activation="gelu_tanh", class_token=False, norm_in=False,
        patch_bias=True, pool="attention", projection="none",
    )  # fmt: skip
    text = TextConfig(
        vocabulary=tokenizer.vocabulary, context=16, width=24, layers=1, heads=2, activation="gelu_tanh",
        causal=False, pool="last", projection="bias",
    )  # fmt: skip
    spec = tokenizer.spec.model_copy(update={"start_token": None, "start_id": None, "pad_to_context": True})
    source = save(folder / "model", image, text, spec, bias=True)
    export_onnx(source, folder / "siglip")
    return source, folder / "siglip"


class Pooled(nn.Module):
    """The least image backbone: the mean colours of four quarters."""

    features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(images, 16).flatten(1)


@pytest.fixture
def backbones(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The registry of backbones, for the time of a test."""
    monkeypatch.setattr(backbone, "_BACKBONES", dict(backbone._BACKBONES))
    return backbone._BACKBONES


@pytest.fixture
def small(save: Save, tokenizer: Tokenizer, backbones: dict[str, Any], tmp_path: Path) -> Path:
    """A checkpoint folder that is exported in a second."""
    backbones["pooled"] = Pooled
    text = TextConfig(vocabulary=tokenizer.vocabulary, context=16, width=16, layers=1, heads=1)
    return save(tmp_path / "model", BackboneConfig(name="pooled", image_size=32), text)
