"""Opening whatever holds image-text pairs, by what is there."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from sightword.data.folder import read_pairs
from sightword.data.pairs import Source, is_image_file
from sightword.data.places import expand_braces
from sightword.data.sharded import open_shards
from sightword.data.tables import holds_bytes
from sightword.errors import RequestError


def open_pairs(paths: str | Sequence[str], classes: Sequence[str] = ()) -> Source:
    """The pairs of a folder of image files, of a table (`read_pairs`), or of shards (`open_shards`: WebDataset tar
    files and Parquet tables with bytes; a folder of them, a pattern, an expression with braces, a URL, or a list).

    Raises RequestError where nothing is found, or more than one kind.
    """
    paths = [paths] if isinstance(paths, str) else [*paths]
    if len(paths) == 1 and not _in_shards(paths[0]):
        if classes:
            raise RequestError(f"{paths[0]}: has no labels that `classes` could name; only shards have them")
        return read_pairs(paths[0])
    if len(paths) == 1 and os.path.isdir(paths[0]) and _kinds(paths[0])[1]:
        # img2dataset puts a table about each tar beside it, without pictures.
        paths = [os.path.join(glob.escape(paths[0]), "**", "*.tar")]
    return open_shards(paths, classes)


def _in_shards(path: str) -> bool:
    if os.path.isdir(path):
        images, tars, tables = _kinds(path)
        if images and tars:
            raise RequestError(f"{path}: holds image files and shards: name the shards ({path.rstrip('/')}/**/*.tar)")
        return tars or (tables and not images)
    if Path(path).suffix.lower() == ".parquet" and os.path.isfile(path):
        return holds_bytes(Path(path))
    if os.path.exists(path):
        return Path(path).suffix.lower() == ".tar"
    return Path(path).suffix.lower() == ".tar" or "://" in path or _stands_for_more(path)


def _stands_for_more(path: str) -> bool:
    return any(sign in path for sign in "*?[") or [*expand_braces(path)] != [path]


def _kinds(folder: str) -> tuple[bool, bool, bool]:
    """Whether there are image files, tar files and tables in it, at any depth."""
    images = tars = tables = False
    for _, _, files in os.walk(folder):
        for name in files:
            images = images or is_image_file(Path(name))
            tars = tars or name.lower().endswith(".tar")
            tables = tables or name.lower().endswith(".parquet")
    return images, tars, tables
