"""Small real pictures for data sets that are laid out as the real ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sightword.data.images import ImageLike, open_image
from sightword.data.labelled import Labelled
from sightword.evaluation.suites import Place, all_specs, locate, open_split
from tests.conftest import make_picture


def picture_bytes(seed: int, kind: str = "png") -> bytes:
    file = io.BytesIO()
    make_picture(12, 10, seed).save(file, kind)
    return file.getvalue()


def write(file: Path, data: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data.encode() if isinstance(data, str) else data)
    return file


def write_tar(file: Path, members: Mapping[str, bytes]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def shows(image: ImageLike, seed: int) -> bool:
    """Whether this is the picture of that seed."""
    return np.array_equal(np.asarray(open_image(image)), np.asarray(make_picture(12, 10, seed)))


def opened(name: str, root: Path, split: Any = "test") -> Labelled:
    """A split of a data set, by its spec."""
    data = open_split(all_specs()[name], root, split)
    assert isinstance(data, Labelled)
    return data


def splits(name: str, root: Path) -> tuple[str, ...]:
    place = locate(all_specs()[name], root)
    assert isinstance(place, Place), place
    return place.splits
