"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from sightword.errors import RequestError, SightwordError


@contextmanager
def whole_file(path: Path) -> Generator[Path, None, None]:
    """A temporary file beside `path`, moved over it when the block ends well, and removed otherwise.

    It is on the disk before it takes its place, so that a machine that fails leaves no empty file.
    """
    make_folder(path.parent)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        temporary.chmod(0o644)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    except OSError as failure:
        reason = failure.strerror or str(failure)
        if failure.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = f"the disk is full: make room in {path.parent}"
        raise SightwordError(f"{path}: could not be written ({reason}); nothing was changed") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Generator[Path, None, None]:
    """A temporary folder beside `path` that takes its place when the block ends well, and is removed otherwise."""
    make_folder(path.parent)
    if path.exists() and not path.is_dir():
        raise SightwordError(f"{path}: is a file, and a folder is to be written there; nothing was changed")
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            # A folder cannot be replaced in one step: the old one is moved aside first, so that at every moment one
            # of the two is whole.
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
    except OSError as failure:
        raise SightwordError(
            f"{path}: could not be written ({failure.strerror or failure}); nothing was changed"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_existing(folder: Path) -> None:
    """Raise RequestError where something is there already; an empty folder is nothing."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RequestError(f"{folder}: is there already; name a new folder")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise SightwordError(f"{folder}: the folder could not be made ({failure.strerror or failure})") from None


def find_resource(name: str) -> Path:
    """A path, or `package:path/inside/it` for a file or folder that an installed package brings (never imported)."""
    path = Path(name)
    if path.exists():
        return path
    package, separator, inside = name.partition(":")
    if not separator:
        raise RequestError(f"{name}: no such file or folder")
    spec = find_spec(package) if package.isidentifier() else None
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / inside).exists():
            return Path(location) / inside
    raise RequestError(
        f"{name}: the package {package!r} is not installed, or has no {inside!r} (make setup installs it)"
    )
