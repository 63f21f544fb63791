"""Names of the Hub: `org/name`, `org/name@revision`. Only the files that the model's family reads are downloaded, all
from one commit, into huggingface_hub's cache; from there they are read where there is no network.

Nothing is asked of the network for a path that exists, nor for a `Path`.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sightword.checkpoints.families import SETTINGS, files_of, find_family, load_folder
from sightword.checkpoints.source import README, SOURCE, Source, read_licence, write_source
from sightword.errors import CheckpointError, RequestError, SightwordError
from sightword.files import refuse_existing, whole_folder

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
# What a repository's terms may stand in, beside the files that its family reads.
TERMS = (README, "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE")


@dataclass(frozen=True, slots=True)
class Fetched:
    """What `fetch` wrote. files: their names. family: by which the folder is read."""

    folder: Path
    family: str
    source: Source
    files: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        source = self.source.model_dump()
        return {"model": str(self.folder), "family": self.family, "files": list(self.files), "source": source}


def locate(name: str | Path, revision: str | None = None) -> tuple[Path, Source | None]:
    """The folder that `name` means, and where it comes from: a path that is there, or else a repository of the Hub,
    downloaded as far as it is not in the cache.

    revision: a branch, a tag or a commit of the repository; it may also stand behind the name, after an `@`.
    Raises CheckpointError, and SightwordError where the network fails.
    """
    path = Path(name)
    if path.exists() or isinstance(name, Path) or not _NAME.fullmatch(name.partition("@")[0]):
        if revision is not None:
            raise RequestError(f"{name}: is a path, and only a repository of the Hub has a revision ({revision!r})")
        return path, None
    folder, source, _ = download(*_split(name, revision))
    return folder, source


def fetch(name: str, out: str | Path, revision: str | None = None) -> Fetched:
    """Download a repository of the Hub into the folder `out`, which must not be there yet, and load it once.

    The folder needs nothing else: its files are copies, and `source.json` says where they come from. It appears whole
    or not at all; what an interrupted download has brought stays in the cache. Raises as `locate` does.
    """
    out = Path(out)
    refuse_existing(out)
    name, revision = _split(name, revision)
    if not _NAME.fullmatch(name):
        raise RequestError(f"{name}: no name of a repository of the Hub: org/name")
    cached, source, files = download(name, revision)
    source = source.model_copy(update={"fetched": datetime.now(UTC).date().isoformat()})
    with whole_folder(out) as temporary:
        for file in files:
            shutil.copyfile(cached / file, temporary / file)
        write_source(temporary, source)
        try:
            load_folder(temporary)
        except CheckpointError as failure:
            raise CheckpointError(str(failure).replace(str(temporary), name)) from None
    return Fetched(out, find_family(out), source, (*files, SOURCE))


def download(name: str, revision: str | None) -> tuple[Path, Source, list[str]]:
    """The cache's folder of one commit, where that comes from, and which files of it are needed."""
    with _explained(name, revision):
        from huggingface_hub import HfApi

        # The small files decide which of the large ones are needed.
        folder = _snapshot(name, revision, [*SETTINGS, *TERMS])
        commit = folder.name
        try:
            siblings = HfApi().model_info(name, revision=commit).siblings or []
            names, missing = {sibling.rfilename for sibling in siblings}, None
        except Exception as failure:  # of any kind: no network, offline by wish, a server that fails
            names, missing = {path.name for path in folder.iterdir() if path.is_file()}, failure
        try:
            needed = files_of(folder, find_family(folder, names), names)
        except CheckpointError as failure:
            told = str(failure).replace(str(folder), name)
            if missing is not None:
                told = f"{_in_part(name)} ({told})"
            raise CheckpointError(told) from None
        files = [*needed, *sorted(names.intersection(TERMS))]
        _snapshot(name, commit, files)
    source = Source(repository=name, revision=revision or "main", commit=commit, licence=read_licence(folder))
    return folder, source, files


def _split(name: str, revision: str | None) -> tuple[str, str | None]:
    bare, _, behind = name.partition("@")
    if behind and revision is not None and behind != revision:
        raise RequestError(f"{name}: names the revision {behind!r}, and {revision!r} was asked for: leave one out")
    return bare, behind or revision


def _snapshot(name: str, revision: str | None, files: Iterable[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import tqdm

    class Progress(tqdm):
        """On a terminal alone, and only for what takes time."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            shown = {"disable": options.get("disable") or None, "leave": False, "delay": 1}
            super().__init__(*arguments, **options | shown)

    return Path(snapshot_download(name, revision=revision, allow_patterns=[*files], tqdm_class=Progress))


def quiet() -> None:
    """Before huggingface_hub is imported: otherwise it asks the Hub also for a list of programs, to say by which one it
    is called."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@contextmanager
def _explained(name: str, revision: str | None) -> Iterator[None]:
    """huggingface_hub's errors as ours: what is wrong, and what to do."""
    quiet()
    from huggingface_hub import errors

    try:
        yield
    except SightwordError:
        raise
    except errors.GatedRepoError:
        raise CheckpointError(_refused(name)) from None
    except errors.RepositoryNotFoundError:
        raise CheckpointError(
            f"{name}: no such checkpoint folder, and no such repository on the Hub (a private one shows only after "
            "`hf auth login`)"
        ) from None
    except errors.RevisionNotFoundError:
        raise CheckpointError(f"{name}: the repository has no revision {revision!r}") from None
    except errors.HFValidationError:
        raise CheckpointError(f"{name}: no such checkpoint folder, and no name of a repository: org/name") from None
    except errors.LocalEntryNotFoundError as failure:
        cause = failure.__cause__
        if isinstance(cause, errors.HfHubHTTPError) and cause.response.status_code in (401, 403):
            raise CheckpointError(_refused(name)) from None
        raise CheckpointError(
            _in_part(name)
            if _is_cached(name, revision)
            else f"{name}: no such checkpoint folder, and the Hub cannot be reached ({_reason(cause)}). It is not in "
            f"the cache {_cache()}: run `sightword fetch {_asked(name, revision)} FOLDER` where there is a network"
        ) from None
    except Exception as failure:  # whatever the network, the server or the disk makes of it
        raise SightwordError(
            f"{name}: could not be fetched ({_reason(failure)}); what was fetched so far is kept: try again"
        ) from None


def _refused(name: str) -> str:
    return (
        f"{name}: the Hub gives it only to those who have accepted its terms: do so on the repository's page, then "
        "`hf auth login`"
    )


def _in_part(name: str) -> str:
    return (
        f"{name}: the cache {_cache()} holds only a part of it, and the Hub cannot be reached: run `sightword fetch "
        f"{name} FOLDER` where there is a network"
    )


def _is_cached(name: str, revision: str | None) -> bool:
    from huggingface_hub.file_download import repo_folder_name

    folder = _cache() / repo_folder_name(repo_id=name, repo_type="model")
    ref = folder / "refs" / (revision or "main")
    return ref.is_file() or (folder / "snapshots" / (revision or "main")).is_dir()


def _cache() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _asked(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name}@{revision}"


def _reason(failure: BaseException | None) -> str:
    return "offline" if failure is None else first_line(failure)


def first_line(failure: BaseException) -> str:
    """What an error of another library says first, or else its kind."""
    lines = str(failure).strip().splitlines()
    return lines[0] if lines else type(failure).__name__
