"""A checkpoint folder gives back what was saved, or says what is wrong with it; it is never half there."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import load_checkpoint, save_checkpoint
from sightword.data.tokenizer import Tokenizer, read_engine
from sightword.errors import CheckpointError, SightwordError
from sightword.model import Model
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.presets import preset
from sightword.towers.resnet import ResNetConfig

FILES = ("contract.json", "model.safetensors", "tokenizer.json")
WORDS = ["a red circle", "unseen words", ""]


@pytest.fixture
def folder(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def edit_contract(folder: Path, *path: str, value: Any = None, drop: bool = False) -> None:
    file = folder / "contract.json"
    values = json.loads(file.read_text())
    inner = values
    for key in path[:-1]:
        inner = inner[key]
    if drop:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    file.write_text(json.dumps(values))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    file = folder / "model.safetensors"
    weights = load_file(file)
    change(weights)
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, file)


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert message.count("\n") <= 1
    assert caught.value.exit_code == 2
    return message


# There and back.


def test_embeddings_are_the_same_to_the_bit(
    encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, image_files: list[Path], tmp_path: Path
) -> None:
    before = Model(encoder, contract, tokenizer, device="cpu")
    save_checkpoint(tmp_path / "new" / "model", encoder, contract, tokenizer)
    after = sightword.load(tmp_path / "new" / "model", device="cpu")
    assert np.array_equal(before.embed_texts(WORDS), after.embed_texts(WORDS))
    assert np.array_equal(before.embed_images(image_files), after.embed_images(image_files))
    assert before.scale == after.scale
    assert after.contract == contract
    assert after.tokenizer.spec == tokenizer.spec


def test_a_resnet_keeps_its_statistics(tokenizer: Tokenizer, contract: Contract, tmp_path: Path) -> None:
    image = ResNetConfig(image_size=32, blocks=(1, 1, 1, 1), width=8, heads=4)
    architecture = DualEncoderConfig(embed_dim=32, image=image, text=contract.architecture.text)
    model = DualEncoder(architecture).train()
    model.encode_image(torch.randn(4, 3, 32, 32))  # moves the running statistics
    save_checkpoint(tmp_path / "rn", model, contract.model_copy(update={"architecture": architecture}), tokenizer)
    loaded, *_ = load_checkpoint(tmp_path / "rn")
    assert not loaded.training
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.encode_image(images), model.eval().encode_image(images))
    # Some convolution kernels round otherwise where the weights begin at an odd address, as they do in a mapped file.
    assert all(tensor.data_ptr() % 64 == 0 for tensor in loaded.state_dict().values())


def test_licence_and_provenance_travel_along(
    encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    told = contract.model_copy(update={"licence": "CC-BY-4.0", "provenance": {"seed": 3, "data": ["emoji"]}})
    save_checkpoint(tmp_path / "m", encoder, told, tokenizer)
    assert load_checkpoint(tmp_path / "m")[1] == told


def test_a_loaded_model_can_be_trained_on(checkpoint: Path) -> None:
    model, *_ = load_checkpoint(checkpoint)
    assert all(parameter.requires_grad for parameter in model.parameters())
    model.encode_image(torch.randn(2, 3, 32, 32)).sum().backward()
    assert model.image.patches.weight.grad is not None


def test_files_can_be_read_by_others(checkpoint: Path) -> None:
    assert sorted(file.name for file in checkpoint.iterdir()) == sorted(FILES)
    assert all(file.stat().st_mode & 0o044 == 0o044 for file in checkpoint.iterdir())
    assert checkpoint.stat().st_mode & 0o055 == 0o055


# Folders that cannot be used.


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "no such checkpoint folder" in refusal(tmp_path / "nowhere")
    file = tmp_path / "file"
    file.write_text("")
    assert "no such checkpoint folder" in refusal(file)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert f"lacks {name}" in refusal(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"null", b"[1]", b"{}"])
def test_a_contract_that_is_none(folder: Path, content: bytes) -> None:
    (folder / "contract.json").write_bytes(content)
    message = refusal(folder)
    assert "contract.json" in message
    assert "not readable as JSON" in message or "names no format" in message


@pytest.mark.parametrize("version", ["sightword/2", "open_clip", 1, None])
def test_another_format_version(folder: Path, version: Any) -> None:
    edit_contract(folder, "format", value=version)
    assert f"written in format {version!r}, and this version of Sightword reads 'sightword/1'" in refusal(folder)


def test_an_unknown_key_names_the_nearest(folder: Path) -> None:
    edit_contract(folder, "image", "bakground", value=None)
    assert "unknown key 'image.bakground'; did you mean 'background'?" in refusal(folder)


def test_an_unknown_key_inside_a_tower_names_the_nearest(folder: Path) -> None:
    edit_contract(folder, "architecture", "image", "pach", value=3)
    message = refusal(folder)
    assert "pach'" in message
    assert "did you mean 'patch'?" in message


def test_a_missing_key_is_named(folder: Path) -> None:
    edit_contract(folder, "text", "end_id", drop=True)
    assert "the key 'text.end_id' is missing" in refusal(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("image", "size"), "large"),
        (("image", "mean"), [0.5, 0.5]),
        (("architecture", "image", "kind"), "mlp"),
        (("architecture", "text", "activation"), "swish"),
        (("image", "interpolation"), "nearest"),
    ],
)
def test_a_value_of_another_type_is_named(folder: Path, path: tuple[str, ...], value: Any) -> None:
    edit_contract(folder, *path, value=value)
    assert path[-2] in refusal(folder)


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("image", "size"), 40, "pictures of 40 pixels for an image tower of 32"),
        (("text", "context"), 33, "texts of 33 tokens for a text tower of 16"),
        (("architecture", "text", "vocabulary"), 300, "the text tower only 300"),
        (("architecture", "text", "heads"), 5, "a width of 64 does not divide into 5 heads"),
    ],
)
def test_a_contract_that_contradicts_itself(folder: Path, path: tuple[str, ...], value: Any, reason: str) -> None:
    edit_contract(folder, *path, value=value)
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.update({"image.positions": w["image.positions"][:-1]}), r"'image.positions' has shape [16, 64]"),
        (lambda w: w.pop("text.norm_out.bias"), "lacks the tensor 'text.norm_out.bias'"),
        (lambda w: w.update(extra=torch.zeros(1)), "holds a tensor 'extra'"),
        (lambda w: w["text.positions"].view(-1)[-1].fill_(torch.nan), "'text.positions' holds NaN or infinity"),
        (lambda w: w["log_scale"].fill_(torch.inf), "'log_scale' holds NaN or infinity"),
        (lambda w: w.update(log_scale=w["log_scale"].half()), "'log_scale' holds float16"),
        (lambda w: w.clear(), "lacks the tensor 'image.blocks.0"),
    ],
    ids=["shape", "missing", "extra", "NaN", "infinity", "half precision", "none"],
)
def test_other_tensors_than_the_contract_asks_for(folder: Path, change: Callable[..., Any], reason: str) -> None:
    edit_weights(folder, change)
    assert reason in refusal(folder)


@pytest.mark.parametrize("keep", [0, 5, 500, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert "not a whole safetensors file" in refusal(folder)


def test_pickled_weights_are_not_run(folder: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "trapped",))

    torch.save({"a": Trap()}, folder / "model.safetensors")
    assert "not a whole safetensors file" in refusal(folder)
    assert not (tmp_path / "trapped").exists()


def test_a_damaged_tokenizer(folder: Path) -> None:
    file = folder / "tokenizer.json"
    file.write_bytes(file.read_bytes()[:-200])
    assert "tokenizer.json: not a readable" in refusal(folder)


def test_a_tokenizer_with_other_special_ids(folder: Path) -> None:
    edit_contract(folder, "text", "end_id", value=2)
    message = refusal(folder)
    assert "'<|endoftext|>' has id 2, but in the tokenizer it has" in message
    assert "tokenizer.json and contract.json do not belong together" in message


def test_a_tokenizer_larger_than_the_text_tower(folder: Path) -> None:
    # Larger by tokens at its end: the special ids are the same.
    engine = read_engine(folder / "tokenizer.json")
    engine.add_tokens(["one more", "and one"])
    (folder / "tokenizer.json").write_text(engine.to_str())
    assert f"the tokenizer has {engine.get_vocab_size()} tokens" in refusal(folder)


# Never half-written.


def test_saving_over_a_folder_replaces_it_whole(
    folder: Path, contract: Contract, tokenizer: Tokenizer, encoder: DualEncoder
) -> None:
    (folder / "stale.txt").write_text("left from before")
    other = DualEncoder(contract.architecture)
    save_checkpoint(folder, other, contract, tokenizer)
    assert sorted(file.name for file in folder.iterdir()) == sorted(FILES)
    loaded = load_checkpoint(folder)[0].state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in other.state_dict().items())
    assert [file.name for file in folder.parent.iterdir()] == ["model"]


def fail_weights(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fail_weights_as_safetensors_does(*_: Any, **__: Any) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("failure", "told"),
    [(fail_weights, "disk is full"), (fail_weights_as_safetensors_does, "No space left on device")],
)
@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_leaves_the_old_folder_and_nothing_else(
    folder: Path,
    encoder: DualEncoder,
    contract: Contract,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    failure: Callable[..., None],
    told: str,
    exists: bool,
) -> None:
    if not exists:
        shutil.rmtree(folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()} if exists else {}
    monkeypatch.setattr("sightword.checkpoints.weights.save_file", failure)
    with pytest.raises(SightwordError, match=rf"could not be written \(.*{told}") as caught:
        save_checkpoint(folder, encoder, contract, tokenizer)
    assert caught.value.exit_code == 1
    assert [file.name for file in folder.parent.iterdir()] == (["model"] if exists else [])
    if exists:
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_an_interruption_in_the_last_file_leaves_the_old_folder(
    folder: Path, encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Tokenizer, "save", interrupted)
    before = (folder / "model.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(folder, DualEncoder(contract.architecture), contract, tokenizer)
    assert (folder / "model.safetensors").read_bytes() == before
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    assert load_checkpoint(folder)[1] == contract


def test_a_place_where_no_folder_can_be_is_named(
    tmp_path: Path, encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SightwordError, match=r"file: the folder could not be made"):
        save_checkpoint(tmp_path / "file" / "model", encoder, contract, tokenizer)


def test_every_preset_makes_a_contract_that_reads_back(contract: Contract, tmp_path: Path) -> None:
    from sightword.checkpoints.contract import read_contract

    for name in ("RN50", "ViT-L/14@336", "RN-tiny"):
        architecture = preset(name)
        size = contract.image.model_copy(update={"size": architecture.image.image_size})
        told = contract.model_copy(update={"architecture": architecture, "image": size})
        (tmp_path / "contract.json").write_text(told.model_dump_json())
        assert read_contract(tmp_path / "contract.json") == told
