"""The preprocessing of transformers' repositories (`preprocessor_config.json`): what CLIPImageProcessor and
SiglipImageProcessor of transformers 5 do, as an ImageSpec, and back.

The settings that a file leaves out have the values that its processor gives them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sightword.checkpoints.transformers_files import Theirs
from sightword.checkpoints.weights import read_json
from sightword.config import parse
from sightword.data.images import ImageSpec
from sightword.errors import CheckpointError, RequestError

PREPROCESSOR = "preprocessor_config.json"
_FILTERS: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True, slots=True)
class Processor:
    """One of transformers' image processors. names: by which files call it, the first being written. resizes: what of
    ImageSpec.resize it can do. defaults: for the settings that a file leaves out."""

    names: tuple[str, ...]
    resizes: tuple[str, ...]
    defaults: Mapping[str, Any]


CLIP = Processor(
    ("CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"),
    ("shortest", "squash"),
    {
        "size": {"shortest_edge": 224},
        "do_center_crop": True,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": (0.48145466, 0.4578275, 0.40821073),
        "image_std": (0.26862954, 0.26130258, 0.27577711),
    },
)
SIGLIP = Processor(
    ("SiglipImageProcessor", "SiglipImageProcessorFast", "SiglipImageProcessorPil"),
    ("squash",),
    {
        "size": {"height": 224, "width": 224},
        "do_center_crop": False,
        "crop_size": {"height": 224, "width": 224},
        "image_mean": (0.5, 0.5, 0.5),
        "image_std": (0.5, 0.5, 0.5),
    },
)


class _Settings(Theirs):
    do_resize: Literal[True] = True
    size: int | dict[str, int]
    resample: Literal[2, 3] = 3
    do_center_crop: bool
    crop_size: int | dict[str, int]
    do_rescale: Literal[True] = True
    rescale_factor: float = 1 / 255
    do_normalize: bool = True
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    do_pad: Literal[False] | None = None
    use_square_size: bool = False


def read_images(folder: Path, image_size: int, processor: Processor) -> ImageSpec:
    """How `folder` prepares pictures for a tower of `image_size`. Raises CheckpointError."""
    path = folder / PREPROCESSOR
    # transformers 5 may keep all settings of a processor in one file.
    joint = folder / "processor_config.json"
    if not path.is_file() and joint.is_file():
        path, values = joint, read_json(joint).get("image_processor")
        if not isinstance(values, dict):
            raise CheckpointError(f"{joint}: holds no image_processor, and {PREPROCESSOR} is not there")
    elif not path.is_file():
        raise CheckpointError(f"{folder}: lacks {PREPROCESSOR}, which says how pictures become the model's input")
    else:
        values = read_json(path)
    kind = values.get("image_processor_type") or values.get("feature_extractor_type") or processor.names[0]
    if kind not in processor.names:
        raise CheckpointError(f"{path}: the image processor {kind!r} is not known here; known is {processor.names[0]}")
    told = parse(_Settings, {**processor.defaults, **values}, str(path), CheckpointError)
    size = {"shortest_edge": told.size} if isinstance(told.size, int) else told.size
    crop = {"height": told.crop_size, "width": told.crop_size} if isinstance(told.crop_size, int) else told.crop_size
    if told.use_square_size and "shortest_edge" in size:
        size = {"height": size["shortest_edge"], "width": size["shortest_edge"]}
    square = {"height": image_size, "width": image_size}
    squash = size == square and (not told.do_center_crop or crop == square)
    shortest = size == {"shortest_edge": image_size} and told.do_center_crop and crop == square
    if not squash and not shortest:
        raise CheckpointError(
            f"{path}: resizes to {size} and crops {crop if told.do_center_crop else 'nothing'}, and the image tower "
            f"takes {image_size} x {image_size} pixels: only the shorter side or both sides brought to that are known"
        )
    if not math.isclose(told.rescale_factor, 1 / 255, rel_tol=1e-6):
        raise CheckpointError(f"{path}: rescale_factor is {told.rescale_factor}; only 1/255 is known")
    return ImageSpec(
        size=image_size,
        resize="squash" if squash else "shortest",
        interpolation=_FILTERS[told.resample],
        mean=told.image_mean if told.do_normalize else (0.0, 0.0, 0.0),
        std=told.image_std if told.do_normalize else (1.0, 1.0, 1.0),
        background=None,
        orient=False,
        offset="floor",
    )


def image_settings(spec: ImageSpec, processor: Processor) -> dict[str, Any]:
    """The way back. Raises RequestError for what the processor cannot do."""
    if spec.resize not in processor.resizes:
        what = {"longest": "padded to a square", "shortest": "cropped to a square", "squash": "squashed"}[spec.resize]
        raise RequestError(
            f"the model's pictures are {what}, and {processor.names[0]} cannot do that: it cannot be written so; "
            "--to open_clip can hold it"
        )
    square = {"height": spec.size, "width": spec.size}
    return {
        "image_processor_type": processor.names[0],
        "do_resize": True,
        "size": square if spec.resize == "squash" else {"shortest_edge": spec.size},
        "resample": 3 if spec.interpolation == "bicubic" else 2,
        "do_center_crop": spec.resize == "shortest",
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(spec.mean),
        "image_std": list(spec.std),
        "do_convert_rgb": True,
    }
