"""The families of checkpoint folders: which one a folder belongs to, and how it is read and written.

A family is one file beside this one and one entry in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from sightword.checkpoints import native, open_clip, transformers_clip
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.weights import read_json
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from sightword.towers.dual import DualEncoder

Loaded: TypeAlias = tuple[DualEncoder, Contract, Tokenizer]


@dataclass(frozen=True, slots=True)
class Family:
    """config: the file by which a folder of the family is known. weights: the files of which it holds one.
    model_type: what `config` must say, where several families share a file name. write: into a folder that is there."""

    config: str
    weights: tuple[str, ...]
    load: Callable[[Path], Loaded]
    write: Callable[[Path, DualEncoder, Contract, Tokenizer], None]
    model_type: str | None = None


# In the order in which they are tried.
FAMILIES: dict[str, Family] = {
    "native": Family(native.CONTRACT, (native.WEIGHTS,), native.load_checkpoint, native.write_checkpoint),
    "open_clip": Family(
        open_clip.CONFIG,
        open_clip.FILES,
        open_clip.load_open_clip,
        open_clip.write_open_clip,
    ),
    "transformers": Family(
        transformers_clip.CONFIG,
        (transformers_clip.WEIGHTS, transformers_clip.INDEX, transformers_clip.PICKLED),
        transformers_clip.load_transformers_clip,
        transformers_clip.write_transformers_clip,
        transformers_clip.MODEL_TYPE,
    ),
}


def load_folder(folder: str | Path) -> Loaded:
    """Read a checkpoint folder of any known family and check it whole.

    Raises CheckpointError. The model is in evaluation mode, on the CPU.
    """
    return FAMILIES[find_family(folder)].load(Path(folder))


def find_family(folder: str | Path) -> str:
    """The name of the family that a folder belongs to.

    A repository may describe the same model for several libraries. The first that also has its weights there counts.
    Raises CheckpointError.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    described = [name for name, family in FAMILIES.items() if (folder / family.config).is_file()]
    whole = [name for name in described if any((folder / file).is_file() for file in FAMILIES[name].weights)]
    if not described:
        raise CheckpointError(f"{folder}: not a checkpoint folder that is known here; known are {_known()}")
    name = (whole or described)[0]
    family = FAMILIES[name]
    if family.model_type is not None:
        told = read_json(folder / family.config).get("model_type")
        if told != family.model_type:
            raise CheckpointError(
                f"{folder / family.config}: the family {told!r} is not known here; known are {_known()}"
            )
    return name


def _known() -> str:
    return "Sightword's own ({}), open_clip's ({}) and transformers' CLIPModel ({} of model_type 'clip')".format(
        *(family.config for family in FAMILIES.values())
    )
