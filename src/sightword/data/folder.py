"""Image-text pairs from a folder, or from a table of path and text: CSV, JSON lines, Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sightword.data.companions import own_texts, read_companions
from sightword.data.pairs import KINDS, Companions, Pair, PairList, Skipped, is_image_file
from sightword.data.tables import PATH_COLUMNS, TEXT_COLUMNS, open_table
from sightword.errors import RequestError


def read_pairs(path: str | Path) -> PairList:
    """The pairs of a folder (image files, each with a `.txt` of its name beside it) or of a table (`.csv`, `.tsv`,
    `.jsonl`, `.parquet` with a column of paths, relative to the table, and a column of texts; those of companions, if
    there are any, have the names of their kinds).

    What has no other half is left out and listed in `.skipped`. Raises RequestError where nothing remains.
    """
    path = Path(path)
    if path.is_dir():
        found = _from_folder(path)
    elif not path.exists():
        raise RequestError(f"{path}: no such file or folder")
    elif path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".parquet"):
        found = _from_table(path)
    else:
        raise RequestError(f"{path}: pairs come from a folder, or from a .csv, .tsv, .jsonl or .parquet table")
    if not found.pairs:
        hint = "put a .txt of the same name beside each image"
        if not path.is_dir():
            hint = "it has no row with both a path and a text"
        if found.skipped:
            first = found.skipped[0]
            hint += f" ({len(found.skipped)} skipped, the first: {first.key}: {first.reason})"
        raise RequestError(f"{path}: no image-text pairs: {hint}")
    return found


def _from_folder(folder: Path) -> PairList:
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    images = [file for file in files if is_image_file(file)]
    texts = {file.with_suffix(""): file for file in files if file.suffix.lower() == ".txt"}
    for image in images:
        key = image.relative_to(folder).as_posix()
        if image.with_suffix("") not in texts:
            skipped.append(Skipped(key, "has no .txt beside it"))
            continue
        text = texts[image.with_suffix("")].read_text(encoding="utf-8-sig", errors="replace")
        _add(pairs, skipped, image, text, key)
    with_image = {image.with_suffix("") for image in images}
    for stem in sorted(texts.keys() - with_image):
        skipped.append(Skipped(texts[stem].relative_to(folder).as_posix(), "has no image beside it"))
    return PairList(pairs, skipped)


def _from_table(path: Path) -> PairList:
    pairs: list[Pair] = []
    skipped: list[Skipped] = []
    for number, row in enumerate(_rows(path), start=1):
        if not row.image:
            skipped.append(Skipped(f"row {number}", "has no path"))
            continue
        file = path.parent / row.image
        if file.is_file():
            _add(pairs, skipped, file, row.text, row.image, row.companions)
        else:
            skipped.append(Skipped(row.image, "no such file"))
    return PairList(pairs, skipped)


class _Row(NamedTuple):
    image: str
    text: str
    companions: Companions | None


def _rows(path: Path) -> Iterator[_Row]:
    """Raises RequestError where the table cannot be read, or lacks a column."""
    columns: tuple[str, str] | None = None
    for names, values in _read_rows(path):
        image, text = columns = columns or _columns(path, names)
        yield _Row(str(values.get(image) or ""), str(values.get(text) or ""), read_companions(values))


def _read_rows(path: Path) -> Iterator[tuple[Iterable[str], Mapping[str, Any]]]:
    """The names of the columns with each row."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        with open_table(path) as table:
            names = table.schema_arrow.names
            wanted = [*_columns(path, names), *(kind for kind in KINDS if kind in names)]
            for batch in table.iter_batches(columns=[*dict.fromkeys(wanted)]):
                yield from ((names, row) for row in batch.to_pylist())
        return
    # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name.
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        if suffix == ".jsonl":
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    found = _record(path, number, line)
                    yield found.keys(), found
            return
        reader = csv.DictReader(lines, delimiter="\t" if suffix == ".tsv" else ",")
        try:
            names = reader.fieldnames or []
            _columns(path, names)
            yield from ((names, row) for row in reader)
        except csv.Error as failure:  # as a rule, a quote that is never closed
            raise RequestError(f"{path}: line {reader.line_num}: not a readable table ({failure})") from None


def _record(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError as failure:
        raise RequestError(f"{path}: line {number}: not readable as JSON ({failure})") from None
    if not isinstance(found, dict):
        raise RequestError(f"{path}: line {number}: is no JSON object")
    return found


def _columns(path: Path, names: Iterable[str]) -> tuple[str, str]:
    names = list(names)
    image = next((name for name in PATH_COLUMNS if name in names), None)
    text = next((name for name in TEXT_COLUMNS if name in names), None)
    if image is None or text is None:
        raise RequestError(
            f"{path}: needs a column of paths (one of {', '.join(PATH_COLUMNS)}) and one of texts "
            f"(one of {', '.join(TEXT_COLUMNS)}); it has {', '.join(names) or 'none'}"
        )
    return image, text


def _add(
    pairs: list[Pair],
    skipped: list[Skipped],
    image: Path,
    text: str,
    key: str,
    companions: Companions | None = None,
) -> None:
    text = " ".join(text.split())
    if text:
        pairs.append(Pair(image=image, texts=own_texts(text, companions), key=key, companions=companions))
    else:
        skipped.append(Skipped(key, "its text is empty"))
