"""The folder of an `embed`: who may write there, what it was begun with, what is done, and how it ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sightword import __version__
from sightword.data.stored import StoredImage
from sightword.embedding.parts import (
    LIST,
    MANIFEST,
    SKIPPED,
    WorkList,
    part_name,
    read_manifest,
    read_summary,
    write_list,
)
from sightword.errors import RequestError, SightwordError
from sightword.files import LOCK, make_folder, only_one, remove_remains, whole_file

# What a killed job leaves behind, beside the list and the lock: temporary files of what was about to appear.
_REMAINS = (f".{MANIFEST}.", f".{SKIPPED}.", f".{LIST}.", ".part-")


@contextmanager
def locked(out: Path) -> Generator[None, None, None]:
    """`out`, made where it is not there yet, for one process alone. A folder in which nothing was begun is not left
    behind."""
    if out.exists() and not out.is_dir():
        raise RequestError(f"{out}: is a file, and a folder is to be written there")
    if not (out / MANIFEST).exists() and out.is_dir() and any(not name.startswith(".") for name in os.listdir(out)):
        raise RequestError(f"{out}: holds something else and no {MANIFEST}: name a new folder")
    make_folder(out)
    with only_one(out, "embed"):
        try:
            remove_remains(out, *_REMAINS)
            yield
        finally:
            if not (out / MANIFEST).exists():
                remove_remains(out, *_REMAINS, LIST, LOCK)
                with suppress(OSError):
                    out.rmdir()


def begin(
    out: Path,
    settings: dict[str, Any],
    images: Iterable[StoredImage],
    listed: Callable[[int], None] = lambda images: None,
) -> dict[str, Any]:
    """The manifest of `out`: as it stands where the work was begun with these settings, otherwise of work begun now.

    Beside it is the list of work, until that is finished. Raises RequestError where it was begun with others.
    """
    if (out / MANIFEST).exists():
        before = read_manifest(out)
        for name, value in settings.items():
            # A model may be called by another path: the fingerprint says whether it is the same.
            if name != "model" and before.get(name) != value:
                option = {"fingerprint": "another model", "source": "another source"}.get(
                    name, f"{name} {before.get(name)!r}, and not {value!r}"
                )
                raise RequestError(f"{out}: was begun with {option}: repeat that command, or name a new folder")
        return before
    count = 0
    for count in write_list(out / LIST, images, settings["part_size"]):
        listed(count)
    if not count:
        raise RequestError(f"{', '.join(settings['source'])}: no images")
    manifest = {**settings, "images": count, "finished": False, "sightword": __version__}
    _write(out, manifest)
    return manifest


def open_list(out: Path) -> WorkList:
    try:
        return WorkList(out / LIST)
    except (OSError, ValueError) as failure:
        raise SightwordError(f"{out / LIST}: not readable ({failure}); name a new folder") from None


def unfinished(out: Path, sizes: list[int], fingerprint: str) -> list[int]:
    """The units whose part is not there, or not whole."""
    return [unit for unit, size in enumerate(sizes) if _size(out / part_name(unit), fingerprint) != size]


def _size(part: Path, fingerprint: str) -> int | None:
    summary = read_summary(part, fingerprint)
    return None if summary is None else summary.embedded + len(summary.left)


def finish(out: Path, manifest: dict[str, Any], units: int) -> dict[str, Any]:
    """Gather what the parts say, write `skipped.jsonl` and the finished manifest, and remove the list."""
    embedded = skipped = 0
    with whole_file(out / SKIPPED) as temporary, temporary.open("w", encoding="utf-8") as lines:
        for unit in range(units):
            summary = read_summary(out / part_name(unit), manifest["fingerprint"])
            if summary is None:
                raise SightwordError(f"{out / part_name(unit)}: has vanished: the same command makes it again")
            embedded += summary.embedded
            skipped += len(summary.left)
            for left in summary.left:
                lines.write(json.dumps(left._asdict(), ensure_ascii=False) + "\n")
    parts = [part_name(unit) for unit in range(units)]
    manifest = {**manifest, "embedded": embedded, "skipped": skipped, "parts": parts, "finished": True}
    _write(out, manifest)
    (out / LIST).unlink(missing_ok=True)
    return manifest


def _write(out: Path, manifest: dict[str, Any]) -> None:
    with whole_file(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
