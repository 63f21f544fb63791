"""Every kind of tower as a graph, against its authors and the model; what becomes of an export that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sightword.checkpoints.families import load_folder
from sightword.cli import run
from sightword.data.pairs import Tokens
from sightword.errors import RequestError, SightwordError
from sightword.onnx import export as export_module
from sightword.onnx.export import OPSET, export_onnx
from tests.onnx.conftest import Pooled

LIMIT = 1e-4
FILES = {"image.onnx", "text.onnx", "tokenizer.json", "contract.json", "export.json"}


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def pixels(rows: int, size: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(rows).integers(0, 256, (rows, size, size, 3)).astype(np.uint8)


@pytest.mark.parametrize("folder", ["transformers_folder", "resnet_folder", "pretrained_folder", "siglip_folder"])
@torch.inference_mode()
def test_the_graphs_compute_what_the_model_does(folder: str, request: pytest.FixtureRequest) -> None:
    source, out = request.getfixturevalue(folder)[:2]
    model, contract, tokenizer = load_folder(source)
    fixed = folder in ("resnet_folder", "siglip_folder")
    image, text = session(out / "image.onnx"), session(out / "text.onnx")
    for rows in (1, 2, 5):
        batch = pixels(rows, contract.image.size)
        expected = model.encode_image(contract.image.normalise(torch.from_numpy(batch).permute(0, 3, 1, 2)))
        (found,) = image.run(["vectors"], {"pixels": batch})
        assert found.dtype == np.float32
        assert np.abs(found - expected.numpy()).max() <= LIMIT
        assert np.abs(np.linalg.norm(found, axis=1) - 1).max() < 1e-5
        for width in (16,) if fixed else (1, 3, 16):
            ids = torch.randint(0, tokenizer.vocabulary, (rows, width))
            lengths = torch.randint(1, width + 1, (rows,))
            (found,) = text.run(["vectors"], {"ids": ids.numpy(), "lengths": lengths.numpy()})
            assert np.abs(found - model.encode_text(Tokens(ids, lengths)).numpy()).max() <= LIMIT
    told = json.loads((out / "export.json").read_text())
    assert told["text_length"] == ("fixed" if fixed else "dynamic")
    assert told["scale"] == pytest.approx(float(model.scale))
    assert told["bias"] == (-10 if folder == "siglip_folder" else None)
    assert json.loads((out / "contract.json").read_text())["text"]["pad_to_context"] is fixed
    assert max(told["max_difference"].values()) <= told["limit"] == LIMIT


@torch.inference_mode()
def test_the_graphs_are_the_clip_that_transformers_saved(transformers_folder: tuple[Path, Path, Any]) -> None:
    _, out, theirs = transformers_folder
    contract = json.loads((out / "contract.json").read_text())
    batch = pixels(3, 32)
    mean, std = (np.array(contract["image"][key], np.float32) for key in ("mean", "std"))
    values = torch.from_numpy((batch / np.float32(255) - mean) / std).permute(0, 3, 1, 2)
    start, end = contract["text"]["start_id"], contract["text"]["end_id"]
    ids = torch.tensor([[start, 5, 6, end], [start, 9, end, end]])
    expected = theirs(input_ids=ids, pixel_values=values)
    (found,) = session(out / "image.onnx").run(None, {"pixels": batch})
    assert np.abs(found - expected.image_embeds.numpy()).max() <= LIMIT
    (found,) = session(out / "text.onnx").run(None, {"ids": ids.numpy(), "lengths": np.array([4, 3])})
    assert np.abs(found - expected.text_embeds.numpy()).max() <= LIMIT


def test_the_files_and_the_shapes(
    transformers_folder: tuple[Path, Path, Any], resnet_folder: tuple[Path, Path], pretrained_folder: tuple[Path, Path]
) -> None:
    for out in (transformers_folder[1], resnet_folder[1], pretrained_folder[1]):
        assert {file.name for file in out.iterdir()} == FILES
        for name in ("image.onnx", "text.onnx"):
            onnx.checker.check_model(out / name, full_check=True)
            assert [(part.domain, part.version) for part in onnx.load(out / name).opset_import] == [("", OPSET)]

    def shapes(path: Path) -> list[tuple[str, str, list[Any]]]:
        opened = session(path)
        return [(item.name, item.type, item.shape) for item in [*opened.get_inputs(), *opened.get_outputs()]]

    assert shapes(transformers_folder[1] / "image.onnx") == [
        ("pixels", "tensor(uint8)", ["batch", 32, 32, 3]),
        ("vectors", "tensor(float)", ["batch", 20]),
    ]
    for out, length, dim in ((transformers_folder[1], "length", 20), (resnet_folder[1], 16, 24)):
        assert shapes(out / "text.onnx") == [
            ("ids", "tensor(int64)", ["batch", length]),
            ("lengths", "tensor(int64)", ["batch"]),
            ("vectors", "tensor(float)", ["batch", dim]),
        ]


def test_weights_of_more_than_two_gigabytes_lie_beside_the_graph(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_INSIDE", 1000)
    export_onnx(small, tmp_path / "out")
    # Checked in the folder's temporary place; it must also run from where it is now.
    assert {file.name for file in (tmp_path / "out").iterdir()} == {*FILES, "image.onnx.data", "text.onnx.data"}
    (tmp_path / "out").rename(tmp_path / "moved")
    assert session(tmp_path / "moved" / "image.onnx").run(None, {"pixels": pixels(2, 32)})[0].shape == (2, 24)


@pytest.mark.parametrize(("tower", "change"), [("image", float("nan")), ("text", 0.01)])
def test_a_graph_that_differs_is_not_left_behind(
    transformers_folder: tuple[Path, Path, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tower: str,
    change: float,
) -> None:
    source, exported, _ = transformers_folder

    def write(image_graph: Any, text_graph: Any, folder: Path, *rest: Any) -> None:
        """The right graphs, and a model that is no longer theirs."""
        for name in ("image.onnx", "text.onnx"):
            shutil.copyfile(exported / name, folder / name)
        with torch.no_grad():
            getattr(image_graph.model, tower).projection.weight[0, 0] += change

    monkeypatch.setattr(export_module, "_write_graphs", write)
    with pytest.raises(SightwordError, match="not written: in ONNX Runtime the model differs") as caught:
        export_onnx(source, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_onnx_runtime_refuses_is_not_left_behind(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_write", lambda *arguments: arguments[3].write_bytes(b"no graph"))
    with pytest.raises(SightwordError, match=r"not written: ONNX Runtime cannot run image\.onnx \(.*\)$"):
        export_onnx(small, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


class Deciding(Pooled):
    """What it does depends on the values: there is no one graph."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (2 if images.sum() > 0 else 1)


class Rare(Pooled):
    """An operation that ONNX does not have."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(super().forward(images))


@pytest.mark.parametrize("kind", [Deciding, Rare])
def test_a_tower_that_cannot_be_exported(
    small: Path, backbones: dict[str, Any], tmp_path: Path, kind: type[Pooled]
) -> None:
    backbones["pooled"] = kind
    with pytest.raises(SightwordError, match=r"not written: image\.onnx cannot be exported to ONNX \(.+\)$") as caught:
        export_onnx(small, tmp_path / "out")
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_there_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_text("mine")
    for out in (tmp_path / "out", tmp_path / "out" / "photo.jpg"):
        with pytest.raises(RequestError, match="is there already; name a new folder"):
            export_onnx(checkpoint, out)
    assert (tmp_path / "out" / "photo.jpg").read_text() == "mine"


def test_a_missing_package_is_named(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(RequestError, match=r"needs onnxscript: pip install 'sightword\[export\]'"):
        export_onnx(checkpoint, tmp_path / "out")


def test_the_command(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    assert run(["export", str(small), "--to", "onnx", str(out), "--text-length", "fixed", "--json", str(report)]) == 0
    said = capsys.readouterr()
    assert "native → onnx" in said.out
    assert "largest difference, in ONNX Runtime: pictures" in said.out
    assert said.err == ""  # the exporter itself has much to say
    values = json.loads(report.read_text())
    assert values.pop("model") == str(out)
    assert values == json.loads((out / "export.json").read_text())
    assert set(values) == {
        "format", "source", "scale", "bias", "text_length", "opset", "max_difference", "limit", "versions",
    }  # fmt: skip
    assert run(["export", str(small), str(out)]) == 2
    assert run(["export", str(tmp_path / "nowhere"), str(tmp_path / "x")]) == 2
    assert run(["export", str(small), "--to", "coreml", str(tmp_path / "x")]) == 2
