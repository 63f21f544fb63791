"""Which of open_clip's own configurations are read, name by name: those with its own towers, or SigLIP's of timm.

The list is to change on purpose: with what is implemented here, or with another open_clip (this one is of 3.3).
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.open_clip_settings import read_settings
from sightword.checkpoints.renaming import to_theirs
from sightword.errors import CheckpointError
from sightword.towers.dual import DualEncoder

_NAMES = """
    RN101 RN101-quickgelu RN50 RN50-quickgelu RN50x16 RN50x16-quickgelu RN50x4 RN50x4-quickgelu RN50x64
    RN50x64-quickgelu ViT-B-16 ViT-B-16-SigLIP ViT-B-16-SigLIP-256 ViT-B-16-SigLIP-384 ViT-B-16-SigLIP-512
    ViT-B-16-SigLIP-i18n-256 ViT-B-16-SigLIP2 ViT-B-16-SigLIP2-256 ViT-B-16-SigLIP2-384 ViT-B-16-SigLIP2-512
    ViT-B-16-plus ViT-B-16-plus-240 ViT-B-16-quickgelu ViT-B-32 ViT-B-32-256 ViT-B-32-SigLIP2-256
    ViT-B-32-plus-256 ViT-B-32-quickgelu ViT-H-14 ViT-H-14-378 ViT-H-14-378-quickgelu ViT-H-14-CLIPA
    ViT-H-14-CLIPA-336 ViT-H-14-quickgelu ViT-H-14-worldwide ViT-H-14-worldwide-378 ViT-H-14-worldwide-quickgelu
    ViT-H-16 ViT-L-14 ViT-L-14-280 ViT-L-14-336 ViT-L-14-336-quickgelu ViT-L-14-CLIPA ViT-L-14-CLIPA-336
    ViT-L-14-quickgelu ViT-L-14-worldwide ViT-L-14-worldwide-quickgelu ViT-L-16 ViT-L-16-320 ViT-L-16-SigLIP-256
    ViT-L-16-SigLIP-384 ViT-L-16-SigLIP2-256 ViT-L-16-SigLIP2-384 ViT-L-16-SigLIP2-512 ViT-M-16 ViT-M-16-alt
    ViT-M-32 ViT-M-32-alt ViT-S-16 ViT-S-16-alt ViT-S-32 ViT-S-32-alt ViT-SO400M-14-SigLIP
    ViT-SO400M-14-SigLIP-378 ViT-SO400M-14-SigLIP-384 ViT-SO400M-14-SigLIP2 ViT-SO400M-14-SigLIP2-378
    ViT-SO400M-16-SigLIP-i18n-256 ViT-SO400M-16-SigLIP2-256 ViT-SO400M-16-SigLIP2-384 ViT-SO400M-16-SigLIP2-512
    ViT-bigG-14 ViT-bigG-14-CLIPA ViT-bigG-14-CLIPA-336 ViT-bigG-14-quickgelu ViT-bigG-14-worldwide
    ViT-bigG-14-worldwide-378 ViT-e-14 ViT-g-14 ViT-gopt-16-SigLIP2-256 ViT-gopt-16-SigLIP2-384 coca_ViT-B-32
    coca_ViT-L-14 coca_base
"""
READ = _NAMES.split()


@pytest.fixture
def shallow(open_clip: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's towers with two blocks. That each name has the depth of ours is tested with SigLIP."""
    create = open_clip.timm_model.timm.create_model
    monkeypatch.setattr(open_clip.timm_model.timm, "create_model", lambda *a, **k: create(*a, **k, depth=2))


@pytest.mark.parametrize("name", READ)
def test_names_and_shapes(open_clip: ModuleType, shallow: None, name: str) -> None:
    """At their widths; of the blocks, which are all alike, two."""
    values: dict[str, Any] = open_clip.get_model_config(name)
    architecture = read_settings(values, Path(name))[1]
    assert architecture.image.kind != "backbone"
    assert architecture.text.kind == "transformer"
    for section in ("vision_cfg", "text_cfg", "multimodal_cfg"):
        if isinstance(values.get(section, {}).get("layers"), int):
            values[section]["layers"] = 2
    image, text = architecture.image, architecture.text
    if image.kind == "vit":
        architecture = architecture.model_copy(update={"image": image.model_copy(update={"layers": 2})})
    architecture = architecture.model_copy(update={"text": text.model_copy(update={"layers": 2})})
    custom = values.pop("custom_text", False)
    kind = open_clip.model.CustomTextCLIP if custom else open_clip.model.CLIP
    if "multimodal_cfg" in values:
        kind = open_clip.coca_model.CoCa
    with torch.device("meta"):
        ours, theirs = DualEncoder(architecture).state_dict(), kind(**values).state_dict()
    expected = {key: tensor.shape for key, tensor in theirs.items() if not key.startswith("text_decoder.")}
    assert {key: tensor.shape for key, tensor in to_theirs(names_of(ours, custom), ours).items()} == expected


@pytest.mark.parametrize(
    ("name", "layers", "parameters"),
    [
        ("ViT-L-14-CLIPA", (24, 12), 414_210_561),
        ("ViT-bigG-14-CLIPA-336", (48, 32), 2_517_756_417),
        ("coca_ViT-L-14", (24, 12), 430_375_937),
        ("ViT-H-14-worldwide", (32, 24), 1_858_783_745),
    ],
)
def test_sizes(open_clip: ModuleType, name: str, layers: tuple[int, int], parameters: int) -> None:
    architecture = read_settings(open_clip.get_model_config(name), Path(name))[1]
    assert architecture.image.kind == "vit"
    assert architecture.text.kind == "transformer"
    assert (architecture.image.layers, architecture.text.layers) == layers
    with torch.device("meta"):
        assert sum(tensor.numel() for tensor in DualEncoder(architecture).state_dict().values()) == parameters


def test_the_others_are_refused_by_name(open_clip: ModuleType) -> None:
    others = sorted(set(open_clip.list_models()) - set(READ))
    assert len(others) == 60
    for name in others:
        values = open_clip.get_model_config(name)
        foreign = values["vision_cfg"].get("timm_model_name") or values["text_cfg"]["hf_model_name"]
        what = "an image tower of timm" if "timm_model_name" in values["vision_cfg"] else "a text tower of transformers"
        if "siglip" in foreign and "gap" not in foreign:  # of nllb-clip: it is the texts' that is not known
            what, foreign = "a text tower of transformers", values["text_cfg"]["hf_model_name"]
        with pytest.raises(CheckpointError) as caught:
            read_settings(values, Path(name))
        assert str(caught.value).startswith(f"{name}: {what} ({foreign}) is not known here")
