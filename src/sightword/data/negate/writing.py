"""The table of negated captions: a row a caption."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from sightword.data.negate.frames import Negation
from sightword.data.negate.options import Options
from sightword.data.negate.told import PictureKind, Told

_ROWS = 1000  # of a row group
_OF_NEGATIONS = ("affirmed", "denied", "foils", "absent", "ways", "present", "missing", "deny_forms", "affirm_forms")


class Writer:
    """path: the file that is written; home: the folder it will be read in, where its paths begin. rows: so far."""

    def __init__(self, path: Path, home: Path, pictures: PictureKind) -> None:
        import pyarrow
        import pyarrow.parquet

        texts = pyarrow.list_(pyarrow.string())
        picture: dict[PictureKind, dict[str, Any]] = {
            "bytes": {"image": pyarrow.binary()},
            "path": {"path": pyarrow.string()},
            "none": {},
        }
        self._schema = pyarrow.schema(
            {
                **picture[pictures],
                "key": pyarrow.string(),
                "caption": pyarrow.int64(),
                "text": pyarrow.string(),
                **dict.fromkeys(_OF_NEGATIONS, texts),
                "verifier": pyarrow.string(),
                "options": texts,
                "option_kinds": texts,
                "option_names": texts,
                "option_there": pyarrow.list_(pyarrow.bool_()),
                "answer": pyarrow.int8(),
                "mcq": texts,
            },
            metadata={"format": "sightword-negated/1"},
        )
        self._pictures, self._home, self._pyarrow = pictures, home, pyarrow
        self._file = pyarrow.parquet.ParquetWriter(path, self._schema, compression="zstd")
        self._waiting: list[dict[str, Any]] = []
        self.rows = 0

    def add(self, told: Told, negations: Sequence[Negation], options: Options | None, verifier: str) -> None:
        self._waiting.append(
            {
                **self._picture(told.picture),
                "key": told.key,
                "caption": told.number,
                "text": told.text,
                "affirmed": [one.affirmed for one in negations],
                "denied": [one.denied for one in negations],
                "foils": [one.foil for one in negations],
                "absent": [one.absent for one in negations],
                "ways": [one.way for one in negations],
                "present": [one.present for one in negations],
                "missing": [one.missing for one in negations],
                "deny_forms": [one.deny for one in negations],
                "affirm_forms": [one.affirm for one in negations],
                "verifier": verifier,
                "options": options.texts if options else (),
                "option_kinds": options.kinds if options else (),
                "option_names": options.names if options else (),
                "option_there": options.there if options else (),
                "answer": options.answer if options else None,
                "mcq": _true_first(options) if options else (),
            }
        )
        self.rows += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _picture(self, picture: bytes | str | None) -> dict[str, Any]:
        if self._pictures == "none":
            return {}
        if isinstance(picture, str):
            return {"path": os.path.relpath(picture, self._home)}
        return {"image" if self._pictures == "bytes" else "path": picture}

    def _flush(self) -> None:
        if self._waiting:
            self._file.write_table(self._pyarrow.Table.from_pylist(self._waiting, self._schema))
            self._waiting = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._file.close()


def _true_first(options: Options) -> Sequence[str]:
    """As training asks for them (docs/formats.md, Companions)."""
    texts = [*options.texts]
    return texts.pop(options.answer), *texts
