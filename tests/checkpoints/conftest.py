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
from tokenizers import Regex, normalizers, pre_tokenizers, processors, trainers
from torch import nn

from sightword.checkpoints.kinds import siglip_image
from sightword.checkpoints.open_clip_timm import TOWERS
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
def bert_tokenizer(tmp_path_factory: pytest.TempPathFactory, transformers: ModuleType) -> Path:
    """A folder with a tokenizer of BERT's kind, as transformers saves it: letters, and a few words."""
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789!?':}"]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    words += ["photo", "cat", "dog", "hello", "##orld"]
    folder = tmp_path_factory.mktemp("bert_tokenizer")
    transformers.BertTokenizer(vocab={word: i for i, word in enumerate(words)}).save_pretrained(folder)
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
        vision: dict[str, Any],
        quick_gelu: bool = False,
        custom: bool = False,
        text: Any = None,
        pickled: bool = False,
        captions: Any = None,
        tokenizer: Path = clip_tokenizer,
    ) -> tuple[Path, Any]:
        text_cfg = {
            "context_length": CONTEXT, "vocab_size": ROWS, "width": 40, "heads": 5, "layers": 2, **(text or {}),
        }  # fmt: skip
        settings = {"embed_dim": 20, "vision_cfg": vision, "text_cfg": text_cfg, "quick_gelu": quick_gelu}
        kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
        if captions:
            kind, settings["multimodal_cfg"] = open_clip.coca_model.CoCa, captions
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
        copy_tokenizer(tokenizer, folder)
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


# SigLIP

SIGLIP_CONTEXT = 64
SIGLIP_SIZE = 34  # of patches of 8: the last two pixels are not seen
TIMM_NAME = "vit_base_patch16_siglip_224"
PLAIN = ["a photo of a cat", "a photo of a dog", "its 2021 cafe creme", "snake case name", "hello world", ""]
# A scale over 100, as SigLIP 2 has.
SCALE, BIAS = 4.7, -15.9


@pytest.fixture(scope="session")
def siglip_tokenizers(tmp_path_factory: pytest.TempPathFactory, transformers: ModuleType) -> dict[str, Path]:
    """Folders with a tokenizer of each kind, as transformers saves it: SigLIP 1 pads with its end token, SigLIP 2
    (Gemma's) with the id 0."""
    folder = tmp_path_factory.mktemp("siglip_tokenizers")
    # Not trained: a UnigramTrainer numbers its pieces otherwise in every run.
    special, letters = ["<pad>", "</s>", "<unk>"], sorted({*"".join(PLAIN).replace(" ", "▁")})
    scores = [*((token, 0.0) for token in special), *((letter, -5.0) for letter in letters)]
    scores += [(f"▁{word}", -4.0) for word in ("a", "photo", "of", "cat", "dog", "hello", "world")]
    words = tokenizers.Tokenizer(tokenizers.models.Unigram(scores, unk_id=2))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.add_special_tokens(special)
    words.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 1)])
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="</s>", pad_token="</s>", unk_token="<unk>", padding_side="right"
    ).save_pretrained(folder / "1")
    pieces = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token="<unk>", byte_fallback=True))
    pieces.normalizer = normalizers.Replace(" ", "▁")
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{number:02X}>" for number in range(256))]
    pieces.train_from_iterator(
        PLAIN * 4, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False)
    )
    model = json.loads(pieces.to_str())["model"]
    transformers.Siglip2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        add_bos_token=False,
        add_eos_token=True,
        padding_side="right",
    ).save_pretrained(folder / "2")
    return {kind: folder / kind for kind in "12"}


@pytest.fixture(scope="session")
def make_siglip(
    tmp_path_factory: pytest.TempPathFactory, transformers: ModuleType, siglip_tokenizers: dict[str, Path]
) -> Callable[..., tuple[Path, Any]]:
    """A SiglipModel and its folder."""

    def make(kind: str = "1", act: str = "gelu_pytorch_tanh", text_width: int = 40) -> tuple[Path, Any]:
        vision = {
            "hidden_size": 36, "intermediate_size": 97, "num_hidden_layers": 2, "num_attention_heads": 3,
            "image_size": SIGLIP_SIZE, "patch_size": 8, "hidden_act": act,
        }  # fmt: skip
        text = {
            "vocab_size": ROWS, "hidden_size": text_width, "intermediate_size": 91, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": SIGLIP_CONTEXT, "hidden_act": act,
            "layer_norm_eps": 1e-3, "projection_size": 36,
        }  # fmt: skip
        model = transformers.SiglipModel(transformers.SiglipConfig(vision_config=vision, text_config=text)).eval()
        randomise_siglip(model)
        folder = tmp_path_factory.mktemp("siglip")
        model.save_pretrained(folder)
        size = {"height": SIGLIP_SIZE, "width": SIGLIP_SIZE}
        transformers.SiglipImageProcessorPil(size=size).save_pretrained(folder)
        copy_tokenizer(siglip_tokenizers[kind], folder)
        return folder, model

    return make


@pytest.fixture
def tiny_timm(monkeypatch: pytest.MonkeyPatch, open_clip: ModuleType) -> None:
    """One of timm's names stands for a small tower, there and here: the smallest real one has 93 million weights."""
    create = open_clip.timm_model.timm.create_model

    def small(name: str, **options: Any) -> Any:
        shape = {
            "img_size": SIGLIP_SIZE,
            "patch_size": 8,
            "embed_dim": 36,
            "depth": 2,
            "num_heads": 3,
            "mlp_ratio": 2.7,
        }
        return create(name, **shape, **options)

    monkeypatch.setattr(open_clip.timm_model.timm, "create_model", small)
    tower = siglip_image(
        SIGLIP_SIZE, 8, width=36, layers=2, heads=3, mlp_ratio=2.7, activation=TOWERS[TIMM_NAME].activation, eps=1e-6
    )
    monkeypatch.setitem(TOWERS, TIMM_NAME, tower)


@pytest.fixture
def make_open_clip_siglip(
    tmp_path: Path, open_clip: ModuleType, siglip_tokenizers: dict[str, Path], tiny_timm: None
) -> Callable[..., tuple[Path, Any]]:
    """SigLIP in open_clip, and its folder."""

    def make(kind: str = "1", clean: str | None = "canonicalize", **text: Any) -> tuple[Path, Any]:
        text_cfg = {
            "context_length": SIGLIP_CONTEXT, "vocab_size": ROWS, "width": 36, "heads": 3, "layers": 2,
            "no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
            "hf_tokenizer_name": "timm/ViT-B-16-SigLIP", **text,
        }  # fmt: skip
        if clean:
            text_cfg["tokenizer_kwargs"] = {"clean": clean}
        vision = {"image_size": SIGLIP_SIZE, "timm_model_name": TIMM_NAME, "timm_pool": "map", "timm_proj": "none"}
        settings = {"embed_dim": 36, "init_logit_bias": -10, "vision_cfg": vision, "text_cfg": text_cfg}
        model = open_clip.model.CustomTextCLIP(**settings).eval()
        randomise_siglip(model)
        folder = tmp_path / f"open_clip_siglip_{kind}"
        folder.mkdir()
        half = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
        (folder / "open_clip_config.json").write_text(
            json.dumps({"model_cfg": settings | {"custom_text": True}, "preprocess_cfg": half})
        )
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
        copy_tokenizer(siglip_tokenizers[kind], folder)
        return folder, model

    return make


def randomise_siglip(model: Any) -> None:
    """Tokens large against positions, and attention that chooses: otherwise a few words would be lost in the padding,
    and all texts be alike."""
    randomise(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "text" in name and ("token_embedding" in name or name.endswith(("_proj.weight", "in_proj_weight"))):
                parameter.mul_(3)
        model.logit_scale.fill_(SCALE)
        model.logit_bias.fill_(BIAS)
