"""Folders of other libraries that cannot be used as they are: each says what is wrong, where, and runs nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import sightword
from sightword.errors import CheckpointError
from tests.checkpoints.conftest import SIZE

Make = Callable[..., tuple[Path, Any]]
VIT = {"image_size": SIZE, "patch_size": 8, "width": 36, "head_width": 12, "layers": 2}


@pytest.fixture(scope="module")
def clip_source(make_transformers: Make) -> Path:
    return make_transformers()[0]


@pytest.fixture(scope="module")
def open_clip_source(make_open_clip: Make) -> Path:
    return make_open_clip(VIT)[0]


@pytest.fixture
def clip_folder(clip_source: Path, tmp_path: Path) -> Path:
    """A copy of a CLIPModel's folder, to damage."""
    return Path(shutil.copytree(clip_source, tmp_path / "model"))


@pytest.fixture
def open_clip_folder(open_clip_source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(open_clip_source, tmp_path / "model"))


def edit(file: Path, *path: str, value: Any) -> None:
    values = json.loads(file.read_text())
    inner = values
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    file.write_text(json.dumps(values))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        sightword.load(folder, device="cpu")
    message = str(caught.value)
    assert str(folder) in message
    assert message.count("\n") <= 1
    return message


# The family.


def test_a_family_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "blip"}))
    message = refusal(tmp_path)
    assert "the family 'blip' is not known here" in message
    for known in ("contract.json", "open_clip_config.json", "config.json of model_type 'clip'"):
        assert known in message


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[1]", b"{}"])
def test_a_config_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    message = refusal(tmp_path)
    assert "not readable as JSON" in message or "holds no object" in message or "the family None" in message


def test_a_folder_with_nothing_of_any_family(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert "not a checkpoint folder that is known here" in refusal(tmp_path)
    assert "no such checkpoint folder" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("vision_cfg", "timm_model_name"), "vit_base", "an image tower of timm (vit_base) is not known here"),
        (("text_cfg", "hf_model_name"), "roberta-base", "a text tower of transformers (roberta-base)"),
        (("init_logit_bias",), -10, "lacks the tensor 'logit_bias'"),
        (("vision_cfg", "attentional_pool"), True, "20 dimensions does not divide into 8 heads"),
        (("vision_cfg", "no_ln_pre"), True, "visual.ln_pre"),
        (("vision_cfg", "pach_size"), 8, "did you mean 'patch_size'?"),
        (("vision_cfg", "image_size"), [32, 64], "only squares"),
        (("text_cfg", "proj_bias"), True, "lacks the tensor 'text_projection.bias'"),
        (("text_cfg", "tokenizer_kwargs"), {"clean": "stemmed"}, "tokenizer_kwargs.clean"),
        (("text_cfg", "tokenizer_kwargs"), {"reduction_mask": "syntax"}, "tokenizer_kwargs.reduction_mask"),
        (("text_cfg", "heads"), 7, "a width of 40 does not divide into 7 heads"),
        (("vision_cfg", "layers"), [1, 1, 1], "layers"),
        (("text_cfg", "pad_id"), 560, "padded with id 560"),
    ],
)
def test_open_clip_settings_that_are_not_implemented(
    open_clip_folder: Path, path: tuple[str, ...], value: Any, reason: str
) -> None:
    edit(open_clip_folder / "open_clip_config.json", "model_cfg", *path, value=value)
    assert reason in refusal(open_clip_folder)


def test_an_activation_that_contradicts_itself(open_clip_folder: Path) -> None:
    config = open_clip_folder / "open_clip_config.json"
    edit(config, "model_cfg", "quick_gelu", value=True)
    edit(config, "model_cfg", "text_cfg", "act_kwargs", value={"approximate": "tanh"})
    assert "contradict" in refusal(open_clip_folder)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("vision_config", "hidden_act"), "relu", "vision_config: hidden_act"),
        (("vision_config", "num_channels"), 4, "num_channels"),
        (("vision_config", "num_attention_heads"), 7, "a width of 36 does not divide into 7 heads"),
        (("vision_config", "image_size"), [32, 32], "image_size"),
        (("text_config", "layer_norm_eps"), 0, "layer_norm_eps"),
        (("text_config",), [], "text_config holds no settings"),
        (("projection_dim",), "20", "projection_dim"),
        (("text_config", "vocab_size"), 500, "and the text tower only 500"),
    ],
)
def test_transformers_settings_that_are_not_implemented(
    clip_folder: Path, path: tuple[str, ...], value: Any, reason: str
) -> None:
    edit(clip_folder / "config.json", *path, value=value)
    assert reason in refusal(clip_folder)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("size", {"shortest_edge": 40}, "resizes to {'shortest_edge': 40}"),
        ("crop_size", {"height": 32, "width": 16}, "crops"),
        ("do_center_crop", False, "crops nothing"),
        ("resample", 0, "resample"),
        ("do_resize", False, "do_resize"),
        ("rescale_factor", 1 / 127.5, "rescale_factor"),
        ("image_processor_type", "BlipImageProcessor", "'BlipImageProcessor' is not known here"),
        ("image_mean", [0.5], "image_mean"),
    ],
)
def test_preprocessing_that_is_not_implemented(clip_folder: Path, key: str, value: Any, reason: str) -> None:
    edit(clip_folder / "preprocessor_config.json", key, value=value)
    assert reason in refusal(clip_folder)


# Files.


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "preprocessor_config.json"])
def test_a_missing_file_of_transformers(clip_folder: Path, name: str) -> None:
    (clip_folder / name).unlink()
    assert name in refusal(clip_folder)


@pytest.mark.parametrize("name", ["open_clip_model.safetensors", "tokenizer.json"])
def test_a_missing_file_of_open_clip(open_clip_folder: Path, name: str) -> None:
    (open_clip_folder / name).unlink()
    assert name in refusal(open_clip_folder)


@pytest.mark.parametrize("keep", [0, 5, 500, -1])
def test_truncated_weights(clip_folder: Path, keep: int) -> None:
    file = clip_folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "model.safetensors: not a whole safetensors file" in refusal(clip_folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w, n: w.update({n: w[n][:-1]}), "asks for"),
        (lambda w, n: w.pop(n), "lacks the tensor"),
        (lambda w, n: w.update({"logit_bias": torch.zeros(1)}), "holds a tensor 'logit_bias'"),
        (lambda w, n: w[n].view(-1)[3].fill_(torch.nan), "NaN or infinity"),
        (lambda w, n: w.update({n: w[n].double()}), "holds float64"),
        (lambda w, n: w.clear(), "lacks the tensor"),
    ],
    ids=["shape", "missing", "extra", "NaN", "double", "none"],
)
@pytest.mark.parametrize("family", ["transformers", "open_clip"])
def test_other_tensors_than_the_config_asks_for(
    request: pytest.FixtureRequest, family: str, change: Callable[..., Any], reason: str
) -> None:
    names = {
        "transformers": ("clip_folder", "model.safetensors", "text_model.encoder.layers.1.self_attn.k_proj.weight"),
        "open_clip": ("open_clip_folder", "open_clip_model.safetensors", "visual.transformer.resblocks.0.ln_2.bias"),
    }
    fixture, name, tensor = names[family]
    folder: Path = request.getfixturevalue(fixture)
    weights = load_file(folder / name)
    change(weights, tensor)
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / name)
    message = refusal(folder)
    assert reason in message
    assert tensor in message or reason not in ("asks for", "NaN or infinity", "holds float64")


@pytest.mark.parametrize("offsets", [[[0, 8], [4, 12]], [[0, 8], [8, 10**15]], [[8, 0], [8, 16]], [[0, 8], [12, 20]]])
def test_a_header_that_lies(clip_folder: Path, offsets: list[list[int]]) -> None:
    # Overlapping, beyond the end, backwards, with a hole.
    header = json.dumps(
        {name: {"dtype": "F32", "shape": [2], "data_offsets": at} for name, at in zip("ab", offsets, strict=True)}
    ).encode()
    (clip_folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(20))
    assert "not a whole safetensors file" in refusal(clip_folder)


@pytest.mark.parametrize(
    "told",
    [
        {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]},
        {"dtype": "F32", "shape": [2**32, 2**32], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]},
        {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [-2], "data_offsets": [0, 8]},
        {"dtype": "code", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "F32", "shape": [2]},
    ],
)
@pytest.mark.parametrize("family", ["transformers", "native"])
def test_a_shape_that_lies(clip_folder: Path, checkpoint: Path, tmp_path: Path, told: Any, family: str) -> None:
    folder = clip_folder if family == "transformers" else Path(shutil.copytree(checkpoint, tmp_path / "native"))
    header = json.dumps({"a": told}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "not a whole safetensors file" in refusal(folder)


@pytest.mark.parametrize("length", [10**6, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_its_file(clip_folder: Path, length: int) -> None:
    (clip_folder / "model.safetensors").write_bytes(length.to_bytes(8, "little") + b"{}" + bytes(8))
    assert "not a whole safetensors file" in refusal(clip_folder)


class Trap:
    """What an attacker puts into a pickled file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("fixture", "good", "bad"),
    [
        ("clip_folder", "model.safetensors", "pytorch_model.bin"),
        ("open_clip_folder", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
    ],
)
def test_pickled_code_is_not_run(
    request: pytest.FixtureRequest, tmp_path: Path, fixture: str, good: str, bad: str, zipped: bool
) -> None:
    folder: Path = request.getfixturevalue(fixture)
    weights: dict[str, Any] = load_file(folder / good)
    (folder / good).unlink()
    torch.save(weights | {"a": Trap(tmp_path / "trapped")}, folder / bad, _use_new_zipfile_serialization=zipped)
    assert "code in it is never run" in refusal(folder)
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("content", [b"", b"\x80", b"not a pickle at all"])
def test_a_damaged_pickled_file(open_clip_folder: Path, content: bytes) -> None:
    (open_clip_folder / "open_clip_model.safetensors").unlink()
    (open_clip_folder / "open_clip_pytorch_model.bin").write_bytes(content)
    assert "open_clip_pytorch_model.bin" in refusal(open_clip_folder)


def test_a_pickled_file_that_holds_no_state_dict(open_clip_folder: Path) -> None:
    (open_clip_folder / "open_clip_model.safetensors").unlink()
    torch.save([torch.zeros(1)], open_clip_folder / "open_clip_pytorch_model.bin")
    assert "holds no state dict" in refusal(open_clip_folder)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_archive_of_torchscript(open_clip_folder: Path) -> None:
    # Its tensors are read, and not its code.
    (open_clip_folder / "open_clip_model.safetensors").unlink()
    scripted = torch.jit.script(torch.nn.Linear(2, 2))
    torch.jit.save(scripted, open_clip_folder / "open_clip_pytorch_model.bin")
    assert "lacks the tensor" in refusal(open_clip_folder)


# Shards.


@pytest.fixture
def shards(make_transformers: Make) -> Path:
    return make_transformers(max_shard_size="40KB")[0]


def test_an_index_that_names_a_missing_file(shards: Path) -> None:
    missing = sorted(shards.glob("model-*.safetensors"))[1]
    missing.unlink()
    assert f"names the file {missing.name!r}, which is not there" in refusal(shards)


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "/etc/passwd", "..", ""])
def test_an_index_that_leads_out_of_the_folder(shards: Path, place: str) -> None:
    edit(shards / "model.safetensors.index.json", "weight_map", "logit_scale", value=place)
    message = refusal(shards)
    assert "which is not a file of this folder" in message or "which is not there" in message


def test_an_index_that_promises_another_tensor(shards: Path) -> None:
    values = json.loads((shards / "model.safetensors.index.json").read_text())
    place = next(iter(values["weight_map"].values()))
    edit(shards / "model.safetensors.index.json", "weight_map", "more", value=place)
    assert "promises the tensor 'more'" in refusal(shards)
    edit(shards / "model.safetensors.index.json", "weight_map", value=[1])
    assert "holds no weight_map" in refusal(shards)


# Tokens.


@pytest.mark.parametrize("key", ["bos_token_id", "eos_token_id"])
def test_special_ids_that_differ_from_the_tokenizer(clip_folder: Path, key: str) -> None:
    edit(clip_folder / "config.json", "text_config", key, value=7)
    message = refusal(clip_folder)
    assert f"text_config.{key} is 7 in config.json" in message
    assert "do not belong together" in message


def add_token(folder: Path) -> None:
    """A tokenizer whose end token is not the largest id."""
    from sightword.data.tokenizer import read_engine

    engine = read_engine(folder / "tokenizer.json")
    engine.add_tokens(["one more"])
    (folder / "tokenizer.json").write_text(engine.to_str())


def test_an_old_end_id_with_a_larger_token(clip_folder: Path) -> None:
    add_token(clip_folder)
    sightword.load(clip_folder, device="cpu")  # pooled at the end token itself
    edit(clip_folder / "config.json", "text_config", "eos_token_id", value=2)
    assert "is not the largest of tokenizer.json" in refusal(clip_folder)


def test_open_clip_with_a_larger_token(open_clip_folder: Path) -> None:
    add_token(open_clip_folder)
    assert "is not the largest of tokenizer.json" in refusal(open_clip_folder)
    config = open_clip_folder / "open_clip_config.json"
    edit(config, "model_cfg", "text_cfg", "pool_type", value="eos")
    assert "text_cfg.eos_id is 2" in refusal(open_clip_folder)
    names = json.loads((open_clip_folder / "tokenizer.json").read_text())["model"]["vocab"]
    edit(config, "model_cfg", "text_cfg", "eos_id", value=names["<|endoftext|>"])
    sightword.load(open_clip_folder, device="cpu")


def test_a_tokenizer_that_lacks_or_misnames_its_special_tokens(clip_folder: Path) -> None:
    edit(clip_folder / "tokenizer_config.json", "eos_token", value="</s>")
    assert "has no token '</s>'" in refusal(clip_folder)
    edit(clip_folder / "tokenizer_config.json", "eos_token", value="!")
    assert "frames an empty text" in refusal(clip_folder)
