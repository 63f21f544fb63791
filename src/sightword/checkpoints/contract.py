"""The contract: all that weights need to be used as their authors used them.

It travels with the weights (`contract.json`), so that nothing is guessed: architecture and activation, image size,
mean, deviation and resize, context length, special ids, licence, where it comes from.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sightword.config import C, Config, parse
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import TextSpec, Tokenizer
from sightword.errors import CheckpointError
from sightword.towers.configs import DualEncoderConfig

FORMAT: Literal["sightword/1"] = "sightword/1"


class Contract(Config):
    """provenance: free, what the trainer knows of the run (recipe, data, seed, versions)."""

    format: Literal["sightword/1"] = FORMAT
    architecture: DualEncoderConfig
    image: ImageSpec
    text: TextSpec
    licence: str = "unknown"
    provenance: dict[str, Any] = Field(default_factory=dict[str, Any])


def read_contract(path: Path) -> Contract:
    """Raises CheckpointError for anything but a contract of this format."""
    contract = read_format(path, Contract, FORMAT, "a contract")
    check_contract(contract, path)
    return contract


def read_format(path: Path, kind: type[C], format_: str, what: str) -> C:
    """A JSON file of ours. Raises CheckpointError for any other, and for one of another format."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as failure:
        raise CheckpointError(f"{path}: not readable as JSON ({failure})") from None
    if not isinstance(values, dict) or "format" not in values:
        raise CheckpointError(f"{path}: not {what} (it names no format)")
    if values["format"] != format_:
        raise CheckpointError(
            f"{path}: written in format {values['format']!r}, and this version of Sightword reads {format_!r}: "
            "use the version that wrote it, or save it again from there"
        )
    return parse(kind, values, str(path), CheckpointError)


def check_contract(contract: Contract, path: Path) -> None:
    """Raises CheckpointError where its parts contradict each other. path: begins the message."""
    architecture = contract.architecture
    if architecture.image.image_size != contract.image.size:
        raise CheckpointError(
            f"{path}: contradicts itself: pictures of {contract.image.size} pixels for an image tower of "
            f"{architecture.image.image_size}"
        )
    if architecture.text.context < contract.text.context:
        raise CheckpointError(
            f"{path}: contradicts itself: texts of {contract.text.context} tokens for a text tower of "
            f"{architecture.text.context}"
        )
    passed_over = architecture.text.pad_id if architecture.text.kind == "transformer" else None
    if passed_over is not None and passed_over != contract.text.pad_id:
        raise CheckpointError(
            f"{path}: contradicts itself: texts are padded with id {contract.text.pad_id}, and the text tower passes "
            f"over the id {passed_over}"
        )
    whole = contract.text.pad_to_context and contract.text.context == architecture.text.context
    if not architecture.text.trims and not whole:
        raise CheckpointError(
            f"{path}: contradicts itself: the text tower sees the padding, and texts are not padded to its "
            f"{architecture.text.context} tokens (text.pad_to_context)"
        )


def check_vocabulary(contract: Contract, tokenizer: Tokenizer, folder: Path, files: Iterable[str]) -> None:
    """The text tower has a row for every token, the padding included."""
    text = contract.architecture.text
    rows = text.encoder.vocabulary if text.kind == "encoder" else text.vocabulary
    if tokenizer.vocabulary > rows:
        raise CheckpointError(
            f"{folder}: the tokenizer has {tokenizer.vocabulary} tokens and the text tower only {rows}: "
            f"{' and '.join(files)} do not belong together"
        )
    if not 0 <= contract.text.pad_id < rows:
        raise CheckpointError(f"{folder}: texts are padded with id {contract.text.pad_id}, and there are {rows} tokens")
