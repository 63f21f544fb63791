"""Towers that begin as backbones of another kind: locked, partly or fully trained."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import nn

import sightword
from sightword.data.pairs import PairList
from sightword.errors import RequestError
from sightword.towers.backbone import register_backbone
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.training.test_loop import StopError, equal, interrupt_after, weights

PAGE = """
title = "two backbones"
[data]
source = "pairs"
path = "unused here"
validation = 0.0
templates = ["{}", "a picture of {}"]
[model]
embed_dim = 16
[model.image]
kind = "backbone"
name = "tiny-test-backbone"
image_size = 16
weights = "IMAGE"
train = 1
fit = 0.1
[model.text]
kind = "encoder"
folder = "TEXT"
train = "head"
[training]
steps = 20
batch_size = 16
lr = 3e-3
every = 10
bank = true
"""


class TinyBackbone(nn.Module):
    features = 12

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 12, 2), nn.ReLU())

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(images)).mean(dim=(2, 3))

    def stages(self) -> list[nn.Module]:
        return [self.first, self.second]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image backbone and a BERT in the Hugging Face layout, both with random weights."""
    folder = tmp_path_factory.mktemp("pretrained")
    register_backbone("tiny-test-backbone", TinyBackbone)
    torch.manual_seed(3)
    save_file(TinyBackbone().state_dict(), folder / "image.safetensors")
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "red", "green", "blue", "yellow", "disc", "bar", "picture", "of"]
    engine = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    engine.normalizer = normalizers.Lowercase()
    engine.pre_tokenizer = pre_tokenizers.Whitespace()
    engine.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    engine.enable_padding(length=24, pad_id=0, pad_token="[PAD]")  # as sentence encoders are often saved
    engine.save(str(folder / "tokenizer.json"))
    width, inner = 16, 32
    config = {
        "model_type": "bert", "vocab_size": len(words), "max_position_embeddings": 64, "type_vocab_size": 2,
        "hidden_size": width, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": inner,
        "hidden_act": "gelu", "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {
        "embeddings.word_embeddings": (len(words), width),
        "embeddings.position_embeddings": (64, width),
        "embeddings.token_type_embeddings": (2, width),
    }
    tensors = {f"{name}.weight": torch.randn(shape) for name, shape in shapes.items()}
    layer = "encoder.layer.0"
    linears = {f"{layer}.attention.self.{part}": (width, width) for part in ("query", "key", "value")}
    linears |= {f"{layer}.attention.output.dense": (width, width), f"{layer}.intermediate.dense": (inner, width)}
    linears |= {f"{layer}.output.dense": (width, inner)}
    for name, shape in linears.items():
        tensors |= {f"{name}.weight": torch.randn(shape) / 4, f"{name}.bias": torch.randn(shape[0]) / 10}
    for name in ("embeddings.LayerNorm", f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"):
        tensors |= {f"{name}.weight": torch.ones(width), f"{name}.bias": torch.zeros(width)}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def recipe(folder: Path, tmp_path: Path) -> Callable[..., Recipe]:
    page = PAGE.replace("IMAGE", str(folder / "image.safetensors")).replace("TEXT", str(folder))
    (tmp_path / "recipe.toml").write_text(page)
    return lambda *changes: read_recipe(tmp_path / "recipe.toml", changes)


def test_only_the_named_stages_change(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path, folder: Path):
    start = TinyBackbone()
    torch.manual_seed(3)
    start = TinyBackbone().state_dict()
    train(recipe(), tmp_path / "run", pairs)
    trained = weights(tmp_path / "run")
    for name, tensor in start.items():
        # The locked stage keeps its BatchNorm statistics as well.
        assert torch.equal(trained[f"image.backbone.{name}"], tensor) == name.startswith("first."), name
    assert not torch.equal(trained["text.projection.weight"], torch.eye(16))


def test_the_fitted_start_beats_the_random_one(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    few = ("training.steps=1", "training.lr=1e-9", "model.image.train=head")
    labels = sorted({pair.name for pair in pairs.pairs})
    right = {}
    for fit in ("0.0", "0.01"):
        train(recipe(*few, f"model.image.fit={fit}"), tmp_path / fit, pairs)
        best = (
            sightword.load(tmp_path / fit / "model").classifier(labels).predict([p.image for p in pairs.pairs]).best()
        )
        right[fit] = sum(b == p.name for b, p in zip(best, pairs.pairs, strict=True)) / len(pairs)
    assert right["0.01"] > 0.5 > right["0.0"]


def test_an_interrupted_run_ends_with_the_same_weights(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe(), tmp_path / "whole", pairs)
    with pytest.raises(StopError):
        train(recipe(), tmp_path / "cut", pairs, validate=interrupt_after(1))
    train(recipe(), tmp_path / "cut", pairs)
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "cut"))


def test_both_towers_can_train_whole(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    train(recipe("model.image.train=all", "model.text.train=all", "training.bank=false"), tmp_path / "run", pairs)
    losses = [event["loss"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "step"]
    assert losses[-1] < losses[0]


def test_a_bank_needs_a_locked_encoder(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    with pytest.raises(RequestError, match="locked text encoder"):
        train(recipe("model.text.train=1"), tmp_path / "run", pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.image.weights=nowhere.safetensors", "no such file"),
        ("model.image.weights=no_such_package:model.pth", "not installed"),
        ("model.image.name=unknown-net", "no backbone is registered"),
        ("model.text.folder=nowhere", "no such file"),
    ],
)
def test_what_is_missing_is_named(
    recipe: Callable[..., Recipe],
    pairs: PairList,
    tmp_path: Path,
    change: str,
    message: str,
):
    with pytest.raises(RequestError, match=message):
        train(recipe(change), tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()


def test_weights_with_code_in_them_are_refused(recipe: Callable[..., Recipe], pairs: PairList, tmp_path: Path):
    class Hostile:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"first.0.weight": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(RequestError, match="not a plain file of weights"):
        train(recipe(f"model.image.weights={tmp_path / 'hostile.pth'}"), tmp_path / "run", pairs)
    assert not (tmp_path / "executed").exists()
