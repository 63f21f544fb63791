"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import platform
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from sightword.errors import FullDiskError, RequestError, SightwordError

LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)
    except OSError as failure:
        raise _not_written(path, failure) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_folder(path: Path) -> Generator[Path, None, None]:
    """A temporary folder beside `path` that takes its place when the block ends well, and is removed otherwise."""
    make_folder(path.parent)
    if path.exists() and not path.is_dir():
        raise SightwordError(f"{path}: is a file, and a folder is to be written there; nothing was changed")
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        yield temporary
        temporary.chmod(0o755)
        for inside in (*temporary.rglob("*"), temporary):
            _sync(inside)
        if path.exists():
            # A folder cannot be replaced in one step: the old one is moved aside first, so that at every moment one
            # of the two is whole.
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent))
            path.replace(old)
            temporary.replace(path)
            shutil.rmtree(old)
        else:
            temporary.replace(path)
        _sync(path.parent)
    except OSError as failure:
        raise _not_written(path, failure) from None
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    """Put a file's bytes, or a folder's entries, on the disk: a machine that fails then leaves them there."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_is_full(failure: OSError) -> bool:
    """Also where a quota or a limit on the size of files is reached."""
    return failure.errno in _FULL


def _not_written(path: Path, failure: OSError) -> SightwordError:
    if disk_is_full(failure):
        return FullDiskError(
            f"{path}: could not be written (the disk is full: make room in {path.parent}); nothing was changed"
        )
    return SightwordError(f"{path}: could not be written ({failure.strerror or failure}); nothing was changed")


def remove_remains(folder: Path, *prefixes: str) -> None:
    """Remove the temporary files and folders of a process that was killed: those whose names begin so."""
    for path in folder.iterdir():
        if path.name.startswith(prefixes):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def only_one(folder: Path, what: str) -> Generator[None, None, None]:
    """`folder`, which is there, for one process alone. what: names it in the message to the second one.

    The system gives the lock back however the process ends. Raises RequestError where another one has it.
    """
    import fcntl

    try:
        lock = (folder / LOCK).open("a+")
    except OSError as failure:
        raise SightwordError(f"{folder}: cannot be written to ({failure.strerror})") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip()
            raise RequestError(
                f"{folder}: another {what} is writing there{f' (process {holder})' if holder else ''}"
            ) from None
        except OSError:
            pass  # some network file systems know no locks
        with suppress(OSError):  # of a full disk: the lock holds without a name as well
            lock.truncate(0)
            lock.write(f"{os.getpid()} on {platform.node()}")
            lock.flush()
        yield


def refuse_existing(folder: Path) -> None:
    """Raise RequestError where something is there already; an empty folder is nothing."""
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise RequestError(f"{folder}: is there already; name a new folder")


def make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        raise SightwordError(f"{folder}: the folder could not be made ({failure.strerror or failure})") from None


def check_writable(folder: Path) -> None:
    """Make a folder, and raise SightwordError where nothing can be written there: before the work, not after it."""
    make_folder(folder)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as failure:
        raise SightwordError(f"{folder}: cannot be written to ({failure.strerror or failure})") from None


def cache_folder(name: str) -> Path | None:
    """A folder of this name in `$SIGHTWORD_CACHE`, or else in `sightword` of the user's cache folder
    (`$XDG_CACHE_HOME`, `~/.cache`). None where SIGHTWORD_CACHE is empty: then nothing is to be kept."""
    folder = os.environ.get("SIGHTWORD_CACHE")
    if folder == "":
        return None
    root = Path(folder) if folder else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sightword"
    return root / name


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
