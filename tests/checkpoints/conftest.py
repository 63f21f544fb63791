"""Small models with random weights, built and saved by the libraries whose folders are read here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tokenizers
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from tokenizers import Regex, normalizers, pre_tokenizers, trainers
from torch import nn

from sightword.checkpoints.vocabulary import OPENAI
from tests.checkpoints.fake_hub import FakeHub

CONTEXT, ROWS, SIZE = 16, 560, 32
SENTENCES = ["a photo of a cat", "A photo of a DOG!", "it's 2021: café crème", "", "x<|endoftext|>y"]


def randomise(module: nn.Module, seed: int = 1) -> None:
    """Biases, norms and their statistics too: zeros and ones would hide a missing or a swapped one."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
            if name.endswith("logit_scale"):
                tensor.fill_(2.3)
            elif tensor.is_floating_point() and torch.isfinite(tensor).all():
                tensor.copy_(torch.randn(tensor.shape, generator=generator) * 0.3 + (tensor.ndim == 1) * 0.5)


@torch.no_grad()
def settle(tower: nn.Module, size: int) -> None:
    """Statistics of BatchNorm as a training leaves them: otherwise what differs between pictures is lost on the way."""
    norms = [module for module in tower.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    if norms:
        tower(pictures(size))
    tower.eval()


def pictures(size: int = SIZE) -> torch.Tensor:
    """Large patches of colour: a convolutional tower would average plain noise away, and see all pictures alike."""
    patches = torch.randn(3, 3, 2, 2, generator=torch.Generator().manual_seed(2)) * 3
    return torch.nn.functional.interpolate(patches, size=size, mode="bilinear")


@pytest.fixture(scope="session")
def clip_tokenizer(tmp_path_factory: pytest.TempPathFactory, transformers: ModuleType) -> Path:
    """A folder with a tokenizer of CLIP's kind, as transformers saves it: a small vocabulary in OpenAI's order."""
    engine = tokenizers.Tokenizer(tokenizers.models.BPE(end_of_word_suffix="</w>"))
    engine.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    pieces = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    engine.train_from_iterator(SENTENCES * 3, trainer)
    merges = [tuple(merge) for merge in json.loads(engine.to_str())["model"]["merges"]]
    words = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)])
    names = [*words, "<|startoftext|>", "<|endoftext|>"]
    folder = tmp_path_factory.mktemp("tokenizer")
    transformers.CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=merges).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def vocabularies(tmp_path_factory: pytest.TempPathFactory, open_clip: ModuleType, transformers: ModuleType) -> Path:
    """Folders with OpenAI's vocabulary, which open_clip brings: as OpenAI, as old and as new CLIPTokenizers keep it."""
    theirs = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in theirs.encoder.items()}
    folder = tmp_path_factory.mktemp("vocabularies")
    for name in ("openai", "old"):
        (folder / name).mkdir()
    shutil.copy(Path(open_clip.__file__).parent / OPENAI, folder / "openai")
    (folder / "old" / "vocab.json").write_text(json.dumps(vocabulary))
    merges = ["#version: 0.2", *map(" ".join, theirs.bpe_ranks), ""]
    (folder / "old" / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    transformers.CLIPTokenizer(vocab=vocabulary, merges=list(theirs.bpe_ranks)).save_pretrained(folder / "new")
    return folder


@pytest.fixture(scope="session")
def special_ids(clip_tokenizer: Path) -> tuple[int, int]:
    engine = tokenizers.Tokenizer.from_file(str(clip_tokenizer / "tokenizer.json"))
    start, end = engine.token_to_id("<|startoftext|>"), engine.token_to_id("<|endoftext|>")
    assert start is not None
    assert end is not None
    return start, end


@pytest.fixture(scope="session")
def make_transformers(
    tmp_path_factory: pytest.TempPathFactory,
    transformers: ModuleType,
    clip_tokenizer: Path,
    special_ids: tuple[int, int],
) -> Callable[..., tuple[Path, Any]]:
    """A CLIPModel and its folder."""

    def make(vision_act: str = "quick_gelu", text_act: str = "gelu", **options: Any) -> tuple[Path, Any]:
        # MLPs that are no multiple of the width, and other epsilons than the default: both must come from the file.
        vision = {
            "hidden_size": 36, "intermediate_size": 100, "num_hidden_layers": 2, "num_attention_heads": 3,
            "image_size": SIZE, "patch_size": 8, "hidden_act": vision_act, "layer_norm_eps": 1e-3,
        }  # fmt: skip
        text = {
            "vocab_size": ROWS, "hidden_size": 40, "intermediate_size": 91, "num_hidden_layers": 3,
            "num_attention_heads": 5, "max_position_embeddings": CONTEXT, "hidden_act": text_act,
            "layer_norm_eps": 1e-2, "bos_token_id": special_ids[0], "eos_token_id": special_ids[1],
        }  # fmt: skip
        config = transformers.CLIPConfig(vision_config=vision, text_config=text, projection_dim=20)
        model = transformers.CLIPModel(config).eval()
        randomise(model)
        folder = tmp_path_factory.mktemp("transformers")
        model.save_pretrained(folder, **options)
        processor = transformers.CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
        )
        processor.save_pretrained(folder)
        copy_tokenizer(clip_tokenizer, folder)
        return folder, model

    return make


@pytest.fixture(scope="session")
def make_open_clip(
    tmp_path_factory: pytest.TempPathFactory, open_clip: ModuleType, clip_tokenizer: Path
) -> Callable[..., tuple[Path, Any]]:
    """An open_clip model and its folder."""

    def make(
        vision: dict[str, Any], quick_gelu: bool = False, custom: bool = False, text: Any = None, pickled: bool = False
    ) -> tuple[Path, Any]:
        text_cfg = {
            "context_length": CONTEXT, "vocab_size": ROWS, "width": 40, "heads": 5, "layers": 2, **(text or {}),
        }  # fmt: skip
        settings = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text_cfg, "quick_gelu": quick_gelu}
        kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
        model = kind(**settings).eval()
        randomise(model)
        settle(model.visual, vision["image_size"])
        folder = tmp_path_factory.mktemp("open_clip")
        if custom:
            settings["custom_text"] = True
        preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
        (folder / "open_clip_config.json").write_text(
            json.dumps({"model_cfg": settings, "preprocess_cfg": preprocess | {"resize_mode": "squash"}})
        )
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        if pickled:
            torch.save({"epoch": 3, "state_dict": {f"module.{name}": t for name, t in weights.items()}},
                       folder / "open_clip_pytorch_model.bin")  # fmt: skip
        else:
            save_file(weights, folder / "open_clip_model.safetensors")
        copy_tokenizer(clip_tokenizer, folder)
        return folder, model

    return make


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A Hub with nothing in it, an empty cache, and huggingface_hub turned towards both."""
    server = FakeHub()
    url = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, server.address)
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "AGENT_HARNESSES_PATH", str(tmp_path / "harnesses.json"))
    monkeypatch.setenv("HF_TOKEN", "hf_fake")
    yield server
    server.close()


def copy_tokenizer(source: Path, folder: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
