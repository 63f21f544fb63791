"""Many small pictures, as files, rows and members."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from sightword.embedding.bulk import embed
from tests.conftest import make_picture

BROKEN = ("03.png", "11.png", "12.png")  # of the folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty files in two folders, three of them broken. Read only."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "more").mkdir()
    for number in range(30):
        file = folder / ("more" if number % 4 == 1 else "") / f"{number:02d}.png"
        make_picture(20 + number, 36, seed=number).save(file)
    for name in BROKEN:
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    return folder


@pytest.fixture(scope="session")
def table(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in the same order, as rows."""
    path = tmp_path_factory.mktemp("table") / "photos.parquet"
    files = sorted_files(photos)
    columns = {"key": [key for key, _ in files], "image": [{"bytes": data, "path": None} for _, data in files]}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return path


@pytest.fixture(scope="session")
def shards(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures in the same order, as members of two shards."""
    folder = tmp_path_factory.mktemp("shards")
    files = sorted_files(photos)
    for number, members in enumerate((files[:17], files[17:])):
        with tarfile.open(folder / f"{number}.tar", "w") as tar:
            for key, data in members:
                member = tarfile.TarInfo(key)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
    return folder


def sorted_files(photos: Path) -> list[tuple[str, bytes]]:
    found = [(file.relative_to(photos).as_posix(), file.read_bytes()) for file in photos.rglob("*.png")]
    return sorted(found)


@pytest.fixture(scope="session")
def whole(checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pictures in parts of eight, in one go. Read only."""
    out = tmp_path_factory.mktemp("whole") / "vectors"
    embed(photos, checkpoint, out, part_size=8, batch_size=3, device="cpu")
    return out


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a finished folder holds, hidden files excepted."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}
