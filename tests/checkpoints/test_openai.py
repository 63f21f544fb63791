"""OpenAI's archives: what open_clip's own loader makes of them, without running anything in them."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

import sightword
from sightword.checkpoints.archive import read_archive
from sightword.checkpoints.convert import convert
from sightword.checkpoints.families import load_folder
from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.openai import architecture_of
from sightword.checkpoints.renaming import to_theirs
from sightword.cli import run
from sightword.errors import CheckpointError
from sightword.towers.dual import DualEncoder
from sightword.towers.presets import PRESETS, preset
from tests.checkpoints.conftest import CONTEXT, ROWS, SENTENCES, SIZE, copy_tokenizer, pictures, randomise, settle
from tests.checkpoints.test_families import differences, here, in_open_clip

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")

VIT = {"image_size": SIZE, "patch_size": 8, "width": 128, "layers": 2}
RESNET = {"image_size": SIZE, "patch_size": None, "width": 8, "layers": [1, 2, 1, 1]}


def make(open_clip: ModuleType, vision: dict[str, Any]) -> nn.Module:
    text = {"context_length": CONTEXT, "vocab_size": ROWS, "width": 64, "heads": 1, "layers": 2}
    model: nn.Module = open_clip.model.CLIP(embed_dim=20, vision_cfg=vision, text_cfg=text, quick_gelu=True).eval()
    randomise(model)
    settle(model.visual, SIZE)
    for mark, value in (("input_resolution", SIZE), ("context_length", CONTEXT), ("vocab_size", ROWS)):
        vars(model).pop(mark, None)
        model.register_buffer(mark, torch.tensor(value))
    return model


@pytest.fixture(scope="module")
def archives(open_clip: ModuleType, clip_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Archives as OpenAI's: traced, in half precision, with a small vocabulary beside them."""
    folder = tmp_path_factory.mktemp("openai")
    for name, vision in (("ViT.pt", VIT), ("RN.pt", RESNET)):
        model = make(open_clip, vision)
        traced = torch.jit.trace(model, (pictures(), torch.ones(1, CONTEXT, dtype=torch.int64)), check_trace=False)
        torch.save(model.state_dict(), folder / f"plain-{name}")
        traced.half().save(str(folder / name))
    copy_tokenizer(clip_tokenizer, folder)
    return folder


@pytest.fixture
def folder(archives: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(archives, tmp_path / "openai"))


def refusal(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        sightword.load(path, device="cpu")
    message = str(caught.value)
    assert str(path.parent) in message
    assert message.count("\n") <= 1
    return message


@pytest.mark.parametrize("name", ["ViT.pt", "RN.pt"])
def test_an_archive_is_read_as_open_clip_reads_it(archives: Path, open_clip: ModuleType, name: str) -> None:
    weights = torch.jit.load(str(archives / name)).state_dict()
    del weights["attn_mask"]  # a buffer of open_clip's, which OpenAI's own model has not
    theirs = open_clip.openai.build_model_from_openai_state_dict(weights).float().eval()
    model, contract, tokenizer = load_folder(archives / name)
    tokens = tokenizer(SENTENCES)
    differences(here(model, pictures(), tokens), in_open_clip(theirs, pictures(), tokens))
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    assert contract.text.clean == "ftfy_lower"
    assert contract.architecture.text.activation == "quick_gelu"  # type: ignore[union-attr]
    assert (contract.image.resize, contract.image.interpolation) == ("shortest", "bicubic")
    assert (contract.image.background, contract.image.orient) == (None, False)


@pytest.mark.parametrize("name", ["ViT.pt", "RN.pt"])
def test_a_plain_state_dict_with_the_marks_is_one_too(archives: Path, open_clip: ModuleType, name: str) -> None:
    model, _, tokenizer = load_folder(archives / f"plain-{name}")
    theirs = make(open_clip, VIT if name == "ViT.pt" else RESNET)
    tokens = tokenizer(SENTENCES)
    differences(here(model, pictures(), tokens), in_open_clip(theirs, pictures(), tokens))


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(("ViT-B", "ViT-L", "RN50", "RN101"))])
def test_the_shapes_of_all_nine_say_which_they_are(name: str) -> None:
    with torch.device("meta"):
        ours = DualEncoder(preset(name)).state_dict()
    assert architecture_of(to_theirs(names_of(ours, custom=False), ours)) == preset(name)


def test_an_archive_is_converted(archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = convert(archives / "ViT.pt", "open_clip", tmp_path / "out")
    assert (done.source, done.changed) == ("openai", ())
    assert run(["convert", str(archives / "ViT.pt"), "--to", "native", str(tmp_path / "native")]) == 0
    one, other = (sightword.load(path, device="cpu") for path in (archives / "ViT.pt", tmp_path / "native"))
    assert one.embed_texts(["a cat’s photo"]).tolist() == other.embed_texts(["a cat’s photo"]).tolist()
    assert other.contract.provenance["file"] == "ViT.pt"


# What it needs, and does not find.


def test_its_vocabulary_must_lie_beside_it(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    message = refusal(folder / "ViT.pt")
    for told in ("lacks tokenizer.json", "bpe_simple_vocab_16e6.txt.gz", "github.com/openai/CLIP"):
        assert told in message


def test_weights_without_the_marks_do_not_say_how_they_are_used(folder: Path) -> None:
    weights = torch.load(folder / "plain-ViT.pt", weights_only=True)
    del weights["input_resolution"]
    torch.save(weights, folder / "ViT.pt")
    message = refusal(folder / "ViT.pt")
    assert "no archive of OpenAI's" in message
    assert "open_clip_config.json" in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda w: w.pop("text_projection"), "no 'text_projection'"),
        (lambda w: w.update(vocab_size=torch.tensor(9)), "contradicts itself: vocab_size is 9"),
        (lambda w: w.update(vocab_size=torch.tensor([9, 9])), "contradicts itself: vocab_size is"),
        (lambda w: w.pop("visual.ln_post.bias"), "lacks the tensor 'visual.ln_post.bias'"),
        (lambda w: w.update(extra=torch.zeros(1)), "holds a tensor 'extra'"),
        (lambda w: w["visual.proj"].fill_(torch.nan), "NaN"),
        (lambda w: w.update({"visual.conv1.weight": torch.zeros(3)}), "not those of OpenAI's CLIP"),
        (lambda w: [w.pop(k) for k in [*w] if "transformer" in k], "not those of OpenAI's CLIP"),
    ],
    ids=["no projection", "another size", "two sizes", "missing", "extra", "NaN", "another shape", "no blocks"],
)
def test_tensors_that_are_not_openais(folder: Path, change: Callable[..., Any], reason: str) -> None:
    weights = torch.load(folder / "plain-ViT.pt", weights_only=True)
    change(weights)
    torch.save(weights, folder / "ViT.pt")
    assert reason in refusal(folder / "ViT.pt")


def test_a_vocabulary_of_another_kind_or_size(folder: Path, checkpoint: Path) -> None:
    settings = json.loads((folder / "tokenizer.json").read_text())
    shutil.copy(checkpoint / "tokenizer.json", folder / "tokenizer.json")
    assert "its tokenizer is not OpenAI's" in refusal(folder / "ViT.pt")
    for number in range(5):
        token = {"id": 9000 + number, "content": f"<{number}>", "special": True}
        settings["added_tokens"].append(token | dict.fromkeys(("lstrip", "rstrip", "normalized", "single_word"), False))
    (folder / "tokenizer.json").write_text(json.dumps(settings))
    assert "is not the largest of its tokenizer" in refusal(folder / "ViT.pt")


# Hostile files.


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.path}",))


def rewritten(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """The archive with each entry as `change` makes it."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries.items():
            archive.writestr(name, change(name, content))


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["pickle", "torch.save", "inside TorchScript", "old torch.save"])
def test_code_in_a_file_is_not_run(folder: Path, tmp_path: Path, kind: str, protocol: int) -> None:
    path, trapped = folder / "ViT.pt", tmp_path / "trapped"
    hostile = pickle.dumps({"weights": Trap(trapped)}, protocol=protocol)
    if kind == "pickle":
        path.write_bytes(hostile)
    elif kind == "inside TorchScript":
        rewritten(path, lambda name, content: hostile if name.endswith("/data.pkl") else content)
    else:
        zipped = kind == "torch.save"
        torch.save({"a": Trap(trapped)}, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    message = refusal(path)
    assert "code in it is never run" in message
    assert not trapped.exists()
    # The trap does work.
    with pytest.raises(AttributeError):
        pickle.loads(hostile).nothing  # noqa: B018
    assert trapped.exists()


def test_code_beside_the_tensors_of_an_archive_is_not_looked_at(folder: Path) -> None:
    weights = read_archive(folder / "ViT.pt")
    rewritten(folder / "ViT.pt", lambda name, content: b"import os" if "/code/" in name else content)
    again = read_archive(folder / "ViT.pt")
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())


def test_a_compressed_archive_may_be_a_bomb(folder: Path) -> None:
    rewritten(folder / "ViT.pt", lambda _, content: content, zipfile.ZIP_DEFLATED)
    assert "is compressed or encrypted, which torch never does" in refusal(folder / "ViT.pt")


@pytest.mark.parametrize("keep", [0, 3, 100, 5000, -1, -200])
@pytest.mark.parametrize("name", ["ViT.pt", "plain-ViT.pt"])
def test_a_truncated_archive(folder: Path, name: str, keep: int) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:keep])
    assert "not a file of tensors alone" in refusal(folder / name)


def test_a_damaged_number_is_noticed(folder: Path) -> None:
    content = bytearray((folder / "ViT.pt").read_bytes())
    with zipfile.ZipFile(folder / "ViT.pt") as archive:
        content[archive.getinfo("ViT/data/3").header_offset + 200] ^= 1
    (folder / "ViT.pt").write_bytes(content)
    assert "it is damaged: Bad CRC-32" in refusal(folder / "ViT.pt")
