"""The exported folder: which files it holds, and what `export.json` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sightword.checkpoints.contract import read_format
from sightword.config import Config, Positive, PositiveFloat

IMAGE, TEXT, RECORD = "image.onnx", "text.onnx", "export.json"
CONTRACT, TOKENIZER = "contract.json", "tokenizer.json"  # as in a checkpoint folder
# Their inputs and their output.
PIXELS, IDS, LENGTHS, VECTORS = "pixels", "ids", "lengths", "vectors"

FORMAT: Literal["sightword-onnx/1"] = "sightword-onnx/1"
TextLength = Literal["dynamic", "fixed"]


class Difference(Config):
    """The largest absolute difference of a coordinate of unit vectors between graph and model, on random inputs."""

    image: float
    text: float


class Record(Config):
    """scale, bias: a logit is scale * cosine + bias; a softmax model has no bias. text_length: `dynamic` where the text
    graph takes texts padded to any length, `fixed` where they are padded to the whole context. opset: of ONNX.
    versions: of the packages that wrote and checked the graphs."""

    format: Literal["sightword-onnx/1"] = FORMAT
    source: str
    scale: PositiveFloat
    bias: float | None
    text_length: TextLength
    opset: Positive
    max_difference: Difference
    limit: float
    versions: dict[str, str] = Field(default_factory=dict[str, str])


def read_record(path: Path) -> Record:
    """Raises CheckpointError for anything but a record of this format."""
    return read_format(path, Record, FORMAT, "the record of an export")
