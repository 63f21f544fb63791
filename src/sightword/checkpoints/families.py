"""The families of checkpoint folders: which one a folder belongs to, and how it is read and written.

A family is one file beside this one and one entry in FAMILIES.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sightword.checkpoints import native, open_clip, openai, transformers_clip, transformers_files, transformers_siglip
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.kinds import kind_of
from sightword.checkpoints.source import UNKNOWN, Source, read_licence, read_source
from sightword.checkpoints.vocabulary import SOURCES
from sightword.checkpoints.weights import read_json, shards
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from sightword.towers.dual import DualEncoder

Loaded: TypeAlias = tuple[DualEncoder, Contract, Tokenizer]


@dataclass(frozen=True, slots=True)
class Family:
    """config: the file by which a folder of the family is known. weights: the files of which it holds one. write: into
    a folder that is there. model_types: one of which `config` must say, where other models have a file of that name."""

    config: str
    weights: tuple[str, ...]
    load: Callable[[Path], Loaded]
    write: Callable[[Path, DualEncoder, Contract, Tokenizer], None]
    model_types: tuple[str, ...] = ()


_TRANSFORMERS: dict[str, Callable[[Path], Loaded]] = {
    transformers_clip.MODEL_TYPE: transformers_clip.load_transformers_clip,
    transformers_siglip.MODEL_TYPE: transformers_siglip.load_transformers_siglip,
}


def _load_transformers(folder: Path) -> Loaded:
    return _TRANSFORMERS[_model_type(folder / transformers_files.CONFIG, tuple(_TRANSFORMERS))](folder)


def _write_transformers(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    siglip = kind_of(contract.architecture) == "siglip"
    write = transformers_siglip.write_transformers_siglip if siglip else transformers_clip.write_transformers_clip
    write(folder, model, contract, tokenizer)


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
        transformers_files.CONFIG,
        (transformers_files.WEIGHTS, transformers_files.INDEX, transformers_files.PICKLED),
        _load_transformers,
        _write_transformers,
        tuple(_TRANSFORMERS),
    ),
}


# One file, which is no folder and is never written: OpenAI's own.
ARCHIVE = "openai"

# Every small file that a family reads: its config, an index of its weights, and what tells of texts and pictures.
_BESIDE = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "processor_config.json",
)
SETTINGS = (
    *(family.config for family in FAMILIES.values()),
    *(file for family in FAMILIES.values() for file in family.weights if file.endswith(".json")),
    *_BESIDE,
)


def load_folder(folder: str | Path, source: Source | None = None) -> Loaded:
    """Read a checkpoint folder of any known family, or an archive of OpenAI's, and check it whole.

    source: where it comes from; otherwise its `source.json` says that. Raises CheckpointError. The model is in
    evaluation mode, on the CPU.
    """
    folder = Path(folder)
    name = find_family(folder)
    model, contract, tokenizer = (openai.load_openai if name == ARCHIVE else FAMILIES[name].load)(folder)
    source = source or read_source(folder)
    changes: dict[str, Any] = {}
    if contract.licence == UNKNOWN:
        changes["licence"] = source.licence if source else read_licence(folder)
    if source:
        changes["provenance"] = contract.provenance | {"source": source.model_dump(exclude_none=True)}
    return model, contract.model_copy(update=changes), tokenizer


def find_family(folder: str | Path, names: Collection[str] | None = None) -> str:
    """The name of the family that a folder belongs to, or ARCHIVE for a file of OpenAI's.

    A repository may describe the same model for several libraries. The first that also has its weights there counts.
    names: of its files, where they are not all there yet. Raises CheckpointError.
    """
    folder = Path(folder)
    if folder.is_file() and folder.suffix == openai.SUFFIX:
        return ARCHIVE
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such checkpoint folder")
    here = {path.name for path in folder.iterdir() if path.is_file()} if names is None else names
    described = [name for name, family in FAMILIES.items() if family.config in here]
    whole = [name for name in described if any(file in here for file in FAMILIES[name].weights)]
    if not described:
        raise CheckpointError(f"{folder}: not a checkpoint folder that is known here; known are {_known()}")
    if not whole and "image.onnx" in here:
        raise CheckpointError(f"{folder}: holds ONNX graphs: sightword.load_onnx reads it")
    name = (whole or described)[0]
    family = FAMILIES[name]
    if family.model_types:
        _model_type(folder / family.config, family.model_types)
    return name


def files_of(folder: Path, name: str, names: Collection[str]) -> list[str]:
    """The files that the family `name` reads, out of `names`: one set of weights, in the layout that it looks for
    first. folder: holds the small ones. Raises CheckpointError where there are no weights."""
    family = FAMILIES[name]
    weights = next((file for file in family.weights if file in names), None)
    if weights is None:
        raise CheckpointError(f"{folder}: lacks the weights: one of {', '.join(family.weights)}")
    parts = shards(folder / weights) if weights.endswith(".json") else []
    vocabulary = next((files for files in SOURCES if all(file in names for file in files)), ())
    wanted = dict.fromkeys((family.config, *_BESIDE, *vocabulary, weights, *parts))
    return [file for file in wanted if file in names]


def _model_type(path: Path, known: tuple[str, ...]) -> str:
    told = read_json(path).get("model_type")
    if told == "siglip2":
        raise CheckpointError(
            f"{path}: Siglip2Model, which takes pictures of any shape (NaFlex), is not known here; SigLIP 2 of a fixed "
            "resolution is: its repositories are of model_type 'siglip'"
        )
    if told not in known:
        raise CheckpointError(f"{path}: the family {told!r} is not known here; known are {_known()}")
    return str(told)


def _known() -> str:
    return (
        "Sightword's own ({}), open_clip's ({}) and transformers' CLIPModel and SiglipModel ({} of model_type 'clip' "
        "or 'siglip')"
    ).format(*(family.config for family in FAMILIES.values()))
