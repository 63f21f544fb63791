"""Where a checkpoint folder comes from: `source.json` of a fetched one, and the licence that its README names."""

from __future__ import annotations

from pathlib import Path

from sightword.checkpoints.weights import read_json, write_json
from sightword.config import Config, parse
from sightword.errors import CheckpointError

SOURCE, README = "source.json", "README.md"
UNKNOWN = "unknown"
# In a README.md that is ours to write again, as when a model is pushed under a name; without this line it stays.
GENERATED = "<!-- Written by Sightword from the model's own record. Remove this line to keep the card as it is. -->"
_LONGEST = 1_000_000  # characters of a README that are looked at


class Source(Config):
    """repository, revision: as they were asked for. commit: what that was. fetched: the day, of a fetched folder."""

    repository: str
    revision: str
    commit: str
    licence: str = UNKNOWN
    fetched: str | None = None


def read_source(folder: Path) -> Source | None:
    """None for a folder that was not fetched. Raises CheckpointError."""
    path = folder / SOURCE
    return parse(Source, read_json(path), str(path), CheckpointError) if path.is_file() else None


def write_source(folder: Path, source: Source) -> None:
    write_json(folder / SOURCE, source.model_dump())


def is_generated(folder: Path) -> bool:
    """Whether the folder's README.md is a card that Sightword wrote, and nobody took over."""
    path = folder / README
    return path.is_file() and GENERATED in path.read_text(encoding="utf-8", errors="replace")


def read_licence(folder: Path) -> str:
    """What the front matter of the folder's README.md gives as `license` (or as `license_name`, where that is
    `other`); `unknown` where it gives none."""
    path = folder / README
    if not path.is_file():
        return UNKNOWN
    with path.open(encoding="utf-8", errors="replace") as file:
        head, _, rest = file.read(_LONGEST).lstrip("\ufeff\n").partition("\n")
    if head.strip() != "---":
        return UNKNOWN
    lines: list[str] = []
    for line in rest.splitlines():
        if line.strip() == "---":
            break
        lines.append(line)
    else:
        return UNKNOWN
    import yaml  # only here: most folders have no README

    try:
        values = yaml.safe_load("\n".join(lines))
    except (yaml.YAMLError, ValueError, RecursionError):
        return UNKNOWN
    if not isinstance(values, dict):
        return UNKNOWN
    told = values.get("license")
    if told == "other" and isinstance(values.get("license_name"), str):
        told = values["license_name"]
    if isinstance(told, list):
        told = ", ".join(map(str, told))
    return told.strip() or UNKNOWN if isinstance(told, str) else UNKNOWN
