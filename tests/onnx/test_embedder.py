"""The Embedder of an exported folder gives what the model's own does, and needs no torch for it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import sightword
from sightword.checkpoints.contract import Contract
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, ImageError, RequestError
from sightword.onnx.embedder import OnnxEmbedder
from sightword.onnx.export import export_onnx
from sightword.towers.resnet import ResNetConfig
from tests.onnx.conftest import Save

LIMIT = 1e-4
TEXTS = ["a red circle", "", "a star", "x", "A RED circle", "café", " x\n &amp;"]
FOLDERS = ["transformers_folder", "resnet_folder", "pretrained_folder", "siglip_folder"]
LONG = "xqzj " * 40


def near(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0) <= LIMIT)


@pytest.fixture(scope="module")
def exported(resnet_folder: tuple[Path, Path]) -> OnnxEmbedder:
    return sightword.load_onnx(resnet_folder[1], threads=1)


@pytest.mark.parametrize("folder", FOLDERS)
def test_it_embeds_as_the_model_does(
    folder: str, request: pytest.FixtureRequest, image_files: list[Path], picture: Callable[..., Image.Image]
) -> None:
    source, out = request.getfixturevalue(folder)[:2]
    model = sightword.load(source, device="cpu", decode="exact")
    ours = sightword.load_onnx(out, threads=1, decode="exact")
    for batch_size in (1, 3, 100):
        assert near(ours.embed_texts(TEXTS, batch_size=batch_size), model.embed_texts(TEXTS))
        assert near(ours.embed_images(image_files, batch_size=batch_size), model.embed_images(image_files))
    assert near(ours.embed_texts([LONG], truncate=True), model.embed_texts([LONG], truncate=True))
    pictures = [picture(700, 500, seed=seed, mode="RGBA") for seed in range(2)]
    assert near(ours.embed_images(pictures), model.embed_images(pictures))
    assert ours.embed_texts([]).shape == ours.embed_images([]).shape == (0, ours.dim)
    assert (ours.dim, ours.bias) == (model.dim, model.bias)
    assert ours.scale == pytest.approx(model.scale)
    labels = ["a red circle", "a green square"]
    found, expected = (which.classifier(labels, ("{}", "a {}.")).predict(image_files) for which in (ours, model))
    assert found.labels == expected.labels
    assert np.abs(found.scores - expected.scores).max() < 1e-3


def test_a_large_jpeg_is_decoded_at_a_part_of_its_size(
    transformers_folder: tuple[Path, Path, Any], picture: Callable[..., Image.Image], tmp_path: Path
) -> None:
    for seed in range(3):
        picture(900, 603, seed=seed).save(tmp_path / f"{seed}.jpg", quality=95)
    files = sorted(tmp_path.glob("*.jpg"))
    fast, exact = (sightword.load_onnx(transformers_folder[1], 1, way).embed_images(files) for way in ("fast", "exact"))
    assert not np.array_equal(fast, exact)
    assert (fast * exact).sum(axis=1).min() > 0.999
    theirs = sightword.load(transformers_folder[0], device="cpu").embed_images(files)
    assert (fast * theirs).sum(axis=1).min() > 0.999


PROGRAM = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "onnxscript", "safetensors", "transformers"):
            raise ImportError(f"{name} is not installed")

if sys.argv[1] == "blocked":
    sys.meta_path.insert(0, NoTorch())
import numpy as np
import sightword

embedder = sightword.load_onnx(sys.argv[2], threads=1)
texts = embedder.embed_texts(["a red circle", "x", ""])
scores = embedder.classifier(["a red circle", "x"], ["a {}."]).predict(sys.argv[4:]).scores
np.savez(sys.argv[3], texts=texts, images=embedder.embed_images(sys.argv[4:]), scores=scores)
sys.exit(any(name.partition(".")[0] == "torch" for name in sys.modules))
"""


@pytest.mark.parametrize("torch", ["blocked", "there"])
def test_no_torch_is_loaded(
    torch: str, siglip_folder: tuple[Path, Path], image_files: list[Path], tmp_path: Path
) -> None:
    source, out = siglip_folder
    command = [sys.executable, "-c", PROGRAM, torch, out, tmp_path / "found.npz", *image_files]
    ran = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found, model = np.load(tmp_path / "found.npz"), sightword.load(source, device="cpu")
    assert near(found["texts"], model.embed_texts(["a red circle", "x", ""]))
    assert near(found["images"], model.embed_images(image_files))
    scores = model.classifier(["a red circle", "x"], ["a {}."]).predict(image_files).scores
    assert np.abs(found["scores"] - scores).max() < 1e-3


def test_bad_input_is_refused_as_elsewhere(exported: OnnxEmbedder, image_files: list[Path]) -> None:
    with pytest.raises(RequestError, match=r"'xqzj .*tokens; the model reads at most 14"):
        exported.embed_texts(["x", LONG])
    with pytest.raises(RequestError, match="texts must be a list"):
        exported.embed_texts("a dog")
    with pytest.raises(RequestError, match="images must be a list"):
        exported.embed_images(str(image_files[0]))
    with pytest.raises(RequestError, match="batch_size must be at least 1"):
        exported.embed_texts(["x"], batch_size=0)
    with pytest.raises(ImageError, match="the file is empty"):
        exported.embed_images([image_files[0], b""])
    skipped: dict[int, ImageError] = {}
    assert near(exported.embed_images([b"", image_files[0]], skipped=skipped), exported.embed_images(image_files[:1]))
    assert list(skipped) == [0]


def test_a_fingerprint_follows_what_is_computed(resnet_folder: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "copy")
    same = sightword.load_onnx(tmp_path / "copy").fingerprint
    assert same == sightword.load_onnx(resnet_folder[1]).fingerprint
    contract = tmp_path / "copy" / "contract.json"
    contract.write_text(contract.read_text().replace('"clean": "none"', '"clean": "lower"'))
    assert sightword.load_onnx(tmp_path / "copy").fingerprint != same


@pytest.mark.parametrize("name", ["image.onnx", "text.onnx", "tokenizer.json", "contract.json", "export.json"])
def test_a_missing_file_is_named(resnet_folder: tuple[Path, Path], tmp_path: Path, name: str) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    with pytest.raises(CheckpointError, match=f"out: lacks {name}; an exported folder holds"):
        sightword.load_onnx(tmp_path / "out")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such exported folder"):
        sightword.load_onnx(tmp_path / "nowhere")


def test_a_tokenizer_of_more_tokens_than_the_graph_knows(resnet_folder: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "out")
    tokenizer, contract = (tmp_path / "out" / name for name in ("tokenizer.json", "contract.json"))
    values = json.loads(tokenizer.read_text())
    rows = json.loads(contract.read_text())["architecture"]["text"]["vocabulary"]
    like = values["added_tokens"][-1]
    values["added_tokens"] += [{**like, "id": number, "content": f"<more{number}>"} for number in range(rows, rows + 5)]
    tokenizer.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"the text tower only \d+: tokenizer\.json and contract\.json do not"):
        sightword.load_onnx(tmp_path / "out")
    said = json.loads(contract.read_text())
    said["architecture"]["text"]["vocabulary"] = rows + 5
    contract.write_text(json.dumps(said))
    with pytest.raises(CheckpointError, match=r"text\.onnx: does not know the last of the \d+ tokens of tokenizer"):
        sightword.load_onnx(tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("contract.json", {"image": {"size": 40}, "architecture": {"image": {"image_size": 40}}},
         r"image\.onnx: takes pixels uint8 \[any, 32, 32, 3\], and contract\.json asks for pixels uint8 \[any, 40, 40"),
        ("contract.json", {"architecture": {"embed_dim": 25}},
         r"image\.onnx: gives vectors float \[any, 24\], and contract\.json asks for vectors float \[any, 25\]"),
        ("contract.json", {"text": {"pad_to_context": False}},
         r"text\.onnx: takes ids int64 \[any, 16\], .* ids int64 \[any, any\]"),
        ("contract.json", {"text": {"context": 12}}, r"text\.onnx: takes .* ids int64 \[any, 12\]"),
        ("contract.json", {"text": {"end_id": 3}}, r"tokenizer\.json: .*do not belong together"),
        ("contract.json", {"format": "sightword/9"}, r"contract\.json: written in format 'sightword/9'"),
        ("export.json", {"format": "sightword-onnx/9"}, r"export\.json: written in format 'sightword-onnx/9'"),
        ("export.json", {"scale": -1}, r"export\.json: scale: "),
        ("export.json", {"scales": 1}, r"export\.json: unknown key 'scales'; did you mean 'scale'"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused(
    resnet_folder: tuple[Path, Path], tmp_path: Path, name: str, change: dict[str, Any], message: str
) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "out")

    def changed(values: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
        return values | {key: changed(values[key], v) if isinstance(v, dict) else v for key, v in change.items()}

    file = tmp_path / "out" / name
    file.write_text(json.dumps(changed(json.loads(file.read_text()), change)))
    with pytest.raises(CheckpointError, match=message):
        sightword.load_onnx(tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"no graph"])
def test_a_damaged_graph_is_refused(
    resnet_folder: tuple[Path, Path], tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "out")
    file = tmp_path / "out" / "text.onnx"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(CheckpointError, match=r"text\.onnx: not a graph that ONNX Runtime can run \(.+\)$"):
        sightword.load_onnx(tmp_path / "out")


def test_the_image_graph_in_the_place_of_the_texts(resnet_folder: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(resnet_folder[1], tmp_path / "out")
    shutil.copyfile(tmp_path / "out" / "image.onnx", tmp_path / "out" / "text.onnx")
    with pytest.raises(CheckpointError, match=r"text\.onnx: takes pixels uint8 .*, and contract\.json asks for ids"):
        sightword.load_onnx(tmp_path / "out")


def test_what_onnx_runtime_cannot_do_here(resnet_folder: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"no provider 'Abacus' here; there are .*CPUExecutionProvider"):
        sightword.load_onnx(resnet_folder[1], providers=["Abacus"])
    with pytest.raises(RequestError, match="threads must be at least 1, not 0"):
        sightword.load_onnx(resnet_folder[1], threads=0)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RequestError, match="needs onnxruntime: pip install onnxruntime"):
        sightword.load_onnx(resnet_folder[1])


def test_load_says_how_an_exported_folder_is_loaded(resnet_folder: tuple[Path, Path]) -> None:
    with pytest.raises(CheckpointError, match=r"holds ONNX graphs: sightword\.load_onnx reads it"):
        sightword.load(resnet_folder[1])


def test_learned_prefixes_stand_in_texts_here_too(
    save: Save, tokenizer: Tokenizer, contract: Contract, tmp_path: Path
) -> None:
    image = ResNetConfig(image_size=32, blocks=(1, 1, 1, 1), width=8, heads=4)
    prefixed = tokenizer.with_prefixes(tokenizer.vocabulary)
    text = contract.architecture.text.model_copy(update={"layers": 1, "vocabulary": prefixed.vocabulary})
    source = save(tmp_path / "model", image, text, prefixed.spec)
    export_onnx(source, tmp_path / "out")
    found = sightword.load_onnx(tmp_path / "out").embed_texts(["a red disc", "a bar"])
    np.testing.assert_allclose(found, sightword.load(source).embed_texts(["a red disc", "a bar"]), atol=1e-5)
    labels = sightword.load(source, texts="labels").embed_texts(["a red disc", "a bar"])
    assert np.abs(found - labels).max() > 1e-3
