"""The files of `embed`: the list of work, the parts of vectors, and reading them back.

Letters in shapes: N vectors, D coordinates.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sightword.data.listing import VECTORS
from sightword.data.stored import StoredImage
from sightword.errors import RequestError, SightwordError
from sightword.files import whole_file

MANIFEST, SKIPPED, LIST = VECTORS, "skipped.jsonl", ".list.parquet"
FORMAT = "sightword-vectors/1"
_NOTES = b"sightword"  # of a part's footer

Vectors16: TypeAlias = NDArray[np.float16]


class Stored(NamedTuple):
    """keys[i] names the image of vectors[i]; vectors: float16 [N, D], of unit length."""

    keys: list[str]
    vectors: Vectors16


class Left(NamedTuple):
    """An image that was left out. It was listed under `source`."""

    key: str
    source: str
    reason: str


def part_name(unit: int) -> str:
    return f"part-{unit:05d}.parquet"


def write_list(path: Path, images: Iterable[StoredImage], part_size: int) -> Iterator[int]:
    """Write the list of work, in groups of `part_size`: the units. Gives how many images were listed so far."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    fields = [(name, pyarrow.string()) for name in ("key", "source", "stamp", "reason")]
    # File names are bytes: not all of them are text.
    schema = pyarrow.schema(
        [*fields, ("file", pyarrow.binary()), ("start", pyarrow.int64()), ("size", pyarrow.int64())]
    )
    source, listed = iter(images), 0
    with whole_file(path) as temporary, ParquetWriter(temporary, schema, compression="zstd") as writer:
        while unit := list(islice(source, part_size)):
            columns = {name: [getattr(image, name) for image in unit] for name in schema.names if name != "file"}
            columns["file"] = [os.fsencode(image.file) for image in unit]
            writer.write_table(pyarrow.table(columns, schema=schema), row_group_size=part_size)
            listed += len(unit)
            yield listed


class WorkList:
    """The list of work as it was written: `sizes` of its units, and their images."""

    def __init__(self, path: Path) -> None:
        from pyarrow.parquet import ParquetFile

        self._file = ParquetFile(path)
        footer = self._file.metadata
        self.sizes = [footer.row_group(unit).num_rows for unit in range(footer.num_row_groups)]

    def __getitem__(self, unit: int) -> list[StoredImage]:
        rows = self._file.read_row_group(unit).to_pylist()
        return [StoredImage(**(row | {"file": os.fsdecode(row["file"])})) for row in rows]

    def __enter__(self) -> WorkList:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def write_part(
    path: Path,
    images: Sequence[StoredImage],
    vectors: Vectors16,
    left: Sequence[Left],
    fingerprint: str,
) -> None:
    """One file that appears whole, with what was left out in its footer: so that one rename says both."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    columns = {
        "key": pyarrow.array([image.key for image in images], pyarrow.string()),
        "source": pyarrow.array([image.source for image in images], pyarrow.string()),
        "vector": pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.reshape(-1)), vectors.shape[1]),
    }
    table = pyarrow.table(columns)
    notes = json.dumps({"fingerprint": fingerprint, "skipped": left})
    text = ["key", "source"]
    with (
        whole_file(path) as temporary,
        # Vectors do not compress: they stay as they are.
        ParquetWriter(
            temporary, table.schema, compression="none", use_dictionary=text, write_statistics=text
        ) as writer,
    ):
        writer.write_table(table)
        writer.add_key_value_metadata({_NOTES: notes})


class PartSummary(NamedTuple):
    embedded: int
    left: list[Left]


def read_summary(path: Path, fingerprint: str) -> PartSummary | None:
    """What a part holds, from its footer. None where it is not there, not whole, or another model's."""
    import pyarrow
    from pyarrow.parquet import read_metadata

    try:
        footer = read_metadata(path)
        notes = json.loads((footer.metadata or {})[_NOTES])
        if notes["fingerprint"] != fingerprint:
            return None
        return PartSummary(footer.num_rows, [Left(*left) for left in notes["skipped"]])
    except (OSError, pyarrow.ArrowException, ValueError, LookupError, TypeError):
        return None


def iter_vectors(folder: str | Path) -> Iterator[Stored]:
    """The parts of a folder that `embed` has finished, one after the other: for more vectors than memory holds."""
    import pyarrow
    from pyarrow.parquet import ParquetFile

    folder = Path(folder)
    manifest = _finished(folder)
    for name in manifest["parts"]:
        try:
            with ParquetFile(folder / name) as part:
                table = part.read(["key", "vector"]).combine_chunks()
        except (OSError, pyarrow.ArrowException) as failure:
            raise SightwordError(f"{folder / name}: not readable ({failure}); embed it again") from None
        vectors = table["vector"].chunk(0).values.to_numpy() if len(table) else np.empty(0, np.float16)
        yield Stored(table["key"].to_pylist(), vectors.reshape(-1, manifest["dim"]))


def read_vectors(folder: str | Path) -> Stored:
    """All keys and vectors of a folder that `embed` has finished: keys [N], vectors float16 [N, D].

    Raises RequestError where it is not one, or not finished.
    """
    manifest = _finished(Path(folder))
    keys: list[str] = []
    vectors = np.empty((manifest["embedded"], manifest["dim"]), np.float16)
    for part in iter_vectors(folder):
        vectors[len(keys) : len(keys) + len(part.keys)] = part.vectors
        keys += part.keys
    return Stored(keys, vectors)


def _finished(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    if not manifest["finished"]:
        raise RequestError(f"{folder}: is not finished: the same embed command goes on with it")
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """`embed.json`. Raises RequestError where the folder holds none of this format."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{folder}: holds no {MANIFEST}: not a folder that embed wrote") from None
    except (OSError, ValueError) as failure:
        raise RequestError(f"{folder / MANIFEST}: not readable ({failure})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise RequestError(f"{folder / MANIFEST}: not of the format {FORMAT!r}")
    return manifest
