"""From family to family, with a report; a folder that would compute something else never appears."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import sightword
from sightword.checkpoints import convert as convert_module
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.convert import PARITY_LIMIT, convert
from sightword.checkpoints.families import FAMILIES, find_family
from sightword.checkpoints.native import load_checkpoint, save_checkpoint
from sightword.cli import run
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError, SightwordError
from sightword.towers.backbone import BackboneConfig, register_backbone
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.resnet import ResNetConfig


@pytest.mark.parametrize("to", sorted(FAMILIES))
def test_a_model_stays_the_same(checkpoint: Path, image_files: list[Path], to: Any, tmp_path: Path) -> None:
    made = convert(checkpoint, to, tmp_path / "out")
    assert (made.source, made.to, find_family(tmp_path / "out")) == ("native", to, to)
    assert max(made.image, made.text) <= PARITY_LIMIT
    back = convert(tmp_path / "out", "native", tmp_path / "back")
    assert max(back.image, back.text) <= PARITY_LIMIT
    one, other = load_checkpoint(checkpoint)[0].state_dict(), load_checkpoint(tmp_path / "back")[0].state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    # Upright pictures without transparency, of even sizes: what the other families prepare in the same way.
    texts = ["a red circle", "café!"]
    before, after = sightword.load(checkpoint, device="cpu"), sightword.load(tmp_path / "out", device="cpu")
    assert np.abs(before.embed_texts(texts) - after.embed_texts(texts)).max() <= PARITY_LIMIT
    assert np.abs(before.embed_images(image_files[:1]) - after.embed_images(image_files[:1])).max() <= PARITY_LIMIT


def test_what_the_target_cannot_say_is_told(checkpoint: Path, tmp_path: Path) -> None:
    assert convert(checkpoint, "native", tmp_path / "same").changed == ()
    assert convert(checkpoint, "transformers", tmp_path / "out").changed == (
        "image.background: (255, 255, 255) becomes None",
        "image.orient: True becomes False",
        "image.offset: round becomes floor",
    )


def test_a_resnet_goes_to_open_clip_alone(tokenizer: Tokenizer, contract: Contract, tmp_path: Path) -> None:
    image = ResNetConfig(image_size=32, blocks=(1, 2, 1, 1), width=8, heads=4)
    architecture = DualEncoderConfig(embed_dim=24, image=image, text=contract.architecture.text)
    told = contract.model_copy(update={"architecture": architecture})
    save_checkpoint(tmp_path / "rn", DualEncoder(architecture), told, tokenizer)
    assert max(vars_of(convert(tmp_path / "rn", "open_clip", tmp_path / "out"))) <= PARITY_LIMIT
    with pytest.raises(RequestError, match="ResNet"):
        convert(tmp_path / "rn", "transformers", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def vars_of(made: Any) -> tuple[float, float]:
    return made.image, made.text


class Flat(torch.nn.Module):
    features = 12

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)


@pytest.mark.parametrize("to", ["open_clip", "transformers"])
def test_a_pretrained_backbone_is_refused(tokenizer: Tokenizer, contract: Contract, to: Any, tmp_path: Path) -> None:
    register_backbone("flat", Flat)
    image = BackboneConfig(name="flat", image_size=32)
    architecture = DualEncoderConfig(embed_dim=24, image=image, text=contract.architecture.text)
    told = contract.model_copy(update={"architecture": architecture})
    save_checkpoint(tmp_path / "model", DualEncoder(architecture), told, tokenizer)
    with pytest.raises(RequestError, match="cannot be written so"):
        convert(tmp_path / "model", to, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


@pytest.mark.parametrize("broken", ["shift", "nan"])
def test_a_model_that_differs_is_not_left_behind(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    load = FAMILIES["open_clip"].load

    def damaged(folder: Path) -> Any:
        model, contract, tokenizer = load(folder)
        with torch.no_grad():
            model.image.projection.weight[0] += 0.01 if broken == "shift" else torch.nan
        return model, contract, tokenizer

    family = FAMILIES["open_clip"]
    changed = type(family)(family.config, family.weights, damaged, family.write)
    monkeypatch.setitem(FAMILIES, "open_clip", changed)
    with pytest.raises(SightwordError, match="not written: read back, the model differs") as caught:
        convert(checkpoint, "open_clip", tmp_path / "out")
    assert caught.value.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_is_left_alone(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "photo.jpg").write_text("mine")
    with pytest.raises(RequestError, match="is there already"):
        convert(checkpoint, "open_clip", tmp_path / "out")
    assert (tmp_path / "out" / "photo.jpg").read_text() == "mine"


def test_an_unknown_family_is_named(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="there are native, open_clip, transformers"):
        convert(checkpoint, "onnx", tmp_path / "out")  # type: ignore[arg-type]


def test_the_command(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    assert run(["convert", str(checkpoint), "--to", "open_clip", str(out), "--json", str(report)]) == 0
    said = capsys.readouterr().out
    assert "largest difference" in said
    assert "image.orient: True becomes False" in said
    values = json.loads(report.read_text())
    assert set(values) == {"model", "from", "to", "max_difference", "limit", "changed"}
    assert set(values["max_difference"]) == {"image", "text"}
    assert run(["convert", str(checkpoint), "--to", "open_clip", str(out)]) == 2
    assert run(["convert", str(tmp_path / "nowhere"), "--to", "native", str(tmp_path / "x")]) == 2
    assert run(["convert", str(checkpoint), "--to", "onnx", str(tmp_path / "x")]) == 2


def test_parity_sees_a_difference_in_each_tower(encoder: DualEncoder, contract: Contract) -> None:
    other = DualEncoder(contract.architecture).eval()
    other.load_state_dict(encoder.state_dict())
    assert convert_module.parity(encoder, other, contract, 300) == (0.0, 0.0)
    with torch.no_grad():
        other.text.norm_out.bias[0] += 1
    image, text = convert_module.parity(encoder, other, contract, 300)
    assert image == 0.0
    assert text > PARITY_LIMIT


def test_what_the_target_cannot_say_of_texts_is_named(
    encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    spec = contract.text.model_copy(update={"clean": "ftfy_lower"})
    save_checkpoint(tmp_path / "native", encoder, contract.model_copy(update={"text": spec}), tokenizer)
    done = convert(tmp_path / "native", "open_clip", tmp_path / "open_clip")
    assert not [change for change in done.changed if change.startswith("text")]
    assert sightword.load(tmp_path / "open_clip", device="cpu").contract.text.clean == "ftfy_lower"
    done = convert(tmp_path / "open_clip", "transformers", tmp_path / "transformers")
    assert "text.clean: ftfy_lower becomes none" in done.changed
    done = convert(tmp_path / "transformers", "open_clip", tmp_path / "again")
    assert "text.clean: none becomes ftfy" in done.changed
