"""Image-text pairs from a folder, or from a CSV or Parquet table of path and text."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from sightword.data.pairs import Pair, PairList, Skipped, is_image_file
from sightword.data.tables import PATH_COLUMNS, TEXT_COLUMNS, open_table
from sightword.errors import RequestError


def read_pairs(path: str | Path) -> PairList:
    """The pairs of a folder (image files, each with a `.txt` of its name beside it) or of a table (`.csv`, `.tsv`,
    `.parquet` with a column of paths, relative to the table, and a column of texts).

    What has no other half is left out and listed in `.skipped`. Raises RequestError where nothing remains.
    """
    path = Path(path)
    if path.is_dir():
        found = _from_folder(path)
    elif not path.exists():
        raise RequestError(f"{path}: no such file or folder")
    elif path.suffix.lower() in (".csv", ".tsv", ".parquet"):
        found = _from_table(path)
    else:
        raise RequestError(f"{path}: pairs come from a folder, or from a .csv, .tsv or .parquet table")
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
    for number, (image, text) in enumerate(_rows(path), start=1):
        if not image:
            skipped.append(Skipped(f"row {number}", "has no path"))
            continue
        file = path.parent / image
        if file.is_file():
            _add(pairs, skipped, file, text, image)
        else:
            skipped.append(Skipped(image, "no such file"))
    return PairList(pairs, skipped)


def _rows(path: Path) -> Iterable[tuple[str, str]]:
    if path.suffix.lower() == ".parquet":
        with open_table(path) as table:
            image, text = _columns(path, table.schema_arrow.names)
            for batch in table.iter_batches(columns=[image, text]):
                for row in batch.to_pylist():
                    yield str(row[image] or ""), str(row[text] or "")
        return
    # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name.
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        reader = csv.DictReader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            image, text = _columns(path, reader.fieldnames or [])
            for row in reader:
                yield row[image] or "", row[text] or ""
        except csv.Error as failure:  # as a rule, a quote that is never closed
            raise RequestError(f"{path}: line {reader.line_num}: not a readable table ({failure})") from None


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


def _add(pairs: list[Pair], skipped: list[Skipped], image: Path, text: str, key: str) -> None:
    text = " ".join(text.split())
    if text:
        pairs.append(Pair(image=image, texts=(text,), key=key))
    else:
        skipped.append(Skipped(key, "its text is empty"))
