"""Looking through shards for all that a training would have to leave out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from sightword.data.images import open_image
from sightword.data.index import ENDINGS, ShardIndex, open_index
from sightword.data.pairs import Skipped
from sightword.data.places import Place, find_places
from sightword.data.sharded import ShardedPairs
from sightword.errors import ImageError, RequestError


class Broken(NamedTuple):
    shard: str
    key: str
    reason: str


@dataclass(frozen=True)
class Checked:
    """pairs: the whole ones. broken: everything else."""

    shards: int
    pairs: int
    broken: Sequence[Broken]

    @property
    def exit_code(self) -> int:
        return 1 if self.broken else 0

    def to_json(self) -> dict[str, Any]:
        return {"shards": self.shards, "pairs": self.pairs, "broken": [entry._asdict() for entry in self.broken]}


def check(shards: Sequence[str], progress: Callable[[int, int | None], None] | None = None) -> Checked:
    """Read every member of the shards (files, folders, patterns, expressions with braces, URLs) and decode every
    picture. Indexes that lie beside them are not believed, and none is written.

    Broken are shards that are missing, damaged or cut short, pairs without their other half, members that stand twice
    or whose names leave the folder, texts that are empty, and pictures that do not decode. Raises RequestError where a
    folder or pattern holds no shards.
    """
    broken: list[Broken] = []
    whole = 0
    places = find_places(shards, ENDINGS)
    with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
        for number, place in enumerate(places):
            name = str(place)
            index = _look(place)
            if isinstance(index, str):
                broken.append(Broken(name, place.name, index))
                continue
            broken += [Broken(name, skip.key, skip.reason) for skip in index.skipped]
            faults = [*_undecodable(place, index, pool)]
            broken += [Broken(name, skip.key, skip.reason) for skip in faults]
            whole += len(index) - len(faults)
            if progress:
                progress(number + 1, len(places))
    return Checked(len(places), whole, broken)


def _look(place: Place) -> ShardIndex | str:
    """Its index, or why there is none."""
    try:
        return open_index(place, keep=False)
    except FileNotFoundError:
        return "no such shard"
    except (OSError, RequestError) as failure:
        return str(failure).removeprefix(f"{place.name}: ")


def _undecodable(place: Place, index: ShardIndex, pool: ThreadPoolExecutor) -> Iterator[Skipped]:
    if not len(index):
        return
    source = ShardedPairs([(place, index)])
    for number, fault in enumerate(pool.map(partial(_fault, source), range(len(source)))):
        if fault:
            yield Skipped(index.text_of(number)[0], fault)


def _fault(source: ShardedPairs, number: int) -> str:
    try:
        open_image(source[number].image)
    except ImageError as error:
        return error.reason
    return ""
