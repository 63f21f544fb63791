"""Heads kept on disk, so that a head of many prompts is computed once for each model, labels and templates.

They lie in `$SIGHTWORD_CACHE/heads`, or else in `sightword/heads` of the user's cache folder (`$XDG_CACHE_HOME`,
`~/.cache`); an empty SIGHTWORD_CACHE turns them off. The oldest go when there are more than KEPT. Whatever is wrong
with the folder or a file costs time and nothing else: the head is then computed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.errors import SightwordError
from sightword.files import cache_folder, whole_file

KEPT = 256


def head_file(embedder: BaseEmbedder, labels: tuple[str, ...], templates: tuple[str, ...]) -> Path | None:
    """Where the head of these is kept: named by all that it depends on. None where nothing is to be kept."""
    folder = cache_folder("heads")
    if folder is None:
        return None
    name = hashlib.sha256(json.dumps([embedder.fingerprint, labels, templates]).encode()).hexdigest()
    return folder / f"{name}.npy"


def read_head(path: Path, shape: tuple[int, int]) -> Vectors | None:
    """None for anything but whole unit vectors of this shape."""
    try:
        head: Vectors = np.load(path, allow_pickle=False)
        if (
            head.shape != shape
            or head.dtype != np.float32
            or not np.allclose(np.linalg.norm(head, axis=1), 1, atol=1e-3)
        ):
            return None
        path.touch()  # what is used stays
    except (OSError, ValueError, EOFError):
        return None
    return head


def keep_head(path: Path, head: Vectors) -> None:
    try:
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, head)
        kept = sorted(path.parent.glob("*.npy"), key=lambda found: found.stat().st_mtime)
        for old in kept[:-KEPT]:
            old.unlink(missing_ok=True)
    except (OSError, SightwordError):
        pass  # a disk that is full or read-only: the head is there all the same
