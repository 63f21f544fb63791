"""A checkpoint folder as a repository of the Hub, in one commit."""

from __future__ import annotations

from pathlib import Path

from sightword.checkpoints.families import FAMILIES, SETTINGS, files_of, find_family
from sightword.checkpoints.hub import TERMS, first_line, quiet
from sightword.checkpoints.source import README, SOURCE, is_generated
from sightword.checkpoints.vocabulary import SOURCES
from sightword.errors import RequestError, SightwordError

# What tells which family a repository is of, and holds its model: beside a new model it would be of another one.
_OF_A_MODEL = frozenset(
    {
        *SETTINGS,
        SOURCE,
        *(file for family in FAMILIES.values() for file in family.weights),
        *(file for files in SOURCES for file in files),
    }
)


def upload(folder: Path, name: str, card: str, private: bool | None = None, revision: str | None = None) -> str:
    """Commit the files that the folder's family reads, and `card` where nobody wrote a README.md for the folder.

    A repository or branch that is not there is made; files of a model that was there before are removed in the same
    commit. private: of a new repository; None leaves that to the Hub. Returns the address of the commit. Raises
    RequestError where that is refused, and SightwordError where the network fails.
    """
    quiet()
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, errors

    names = {path.name for path in folder.iterdir() if path.is_file()}
    beside = {SOURCE, *TERMS} - ({README} if is_generated(folder) else set())
    files = [*files_of(folder, find_family(folder), names), *sorted(names & beside)]
    contents: dict[str, Path | bytes] = {README: card.encode()} | {file: folder / file for file in files}
    api = HfApi()
    try:
        api.create_repo(name, private=private, exist_ok=True)
        if private and not api.model_info(name).private:
            raise RequestError(f"{name}: is public, and was to be private: nothing was uploaded")
        if revision is not None:
            api.create_branch(name, branch=revision, exist_ok=True)
        before = api.list_repo_files(name, revision=revision)
        operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
            *(CommitOperationDelete(file) for file in sorted(_OF_A_MODEL.intersection(before) - contents.keys())),
            *(CommitOperationAdd(file, content) for file, content in contents.items()),
        ]
        return api.create_commit(name, operations, commit_message="Push with Sightword", revision=revision).commit_url
    except SightwordError:
        raise
    except errors.HFValidationError:
        raise RequestError(f"{name}: no name of a repository: org/name") from None
    except errors.HfHubHTTPError as failure:
        status = failure.response.status_code
        if status in (401, 403):
            raise RequestError(
                f"{name}: the Hub does not let you write there ({status}): `hf auth login` with a token that may"
            ) from None
        raise SightwordError(f"{name}: not pushed: {first_line(failure)}") from None
    except ValueError as failure:  # of the card's front matter, as the Hub judges it
        raise RequestError(f"{name}: not pushed: {' '.join(str(failure).split())}") from None
    except Exception as failure:  # whatever the network makes of it
        raise SightwordError(f"{name}: not pushed, and the Hub shows nothing of it: {first_line(failure)}") from None
