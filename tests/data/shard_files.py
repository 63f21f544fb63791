"""What tests of shards share: shards as img2dataset writes them, and ways to look into a source."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.pairs import Source
from sightword.data.sharded import ShardedPairs
from sightword.data.tokenizer import Tokenizer
from tests.data.test_listing import png, write_shard


def members(numbers: range) -> dict[str, bytes]:
    """As img2dataset writes them."""
    found: dict[str, bytes] = {}
    for number in numbers:
        found[f"{number:05}.jpg"] = png(number)
        found[f"{number:05}.json"] = json.dumps({"caption": "not this one", "key": f"{number:05}"}).encode()
        found[f"{number:05}.txt"] = f"caption {number}".encode()
    return found


def make_shards(folder: Path, count: int = 3, each: int = 5) -> Path:
    folder.mkdir(exist_ok=True)
    for shard in range(count):
        write_shard(folder / f"{shard:05}.tar", members(range(shard * each, (shard + 1) * each)))
    return folder


def as_dict(source: Source) -> dict[str, str]:
    return {pair.key: pair.texts[0] for pair in source}


def reasons(source: Source) -> dict[str, str]:
    return {skip.key: skip.reason for skip in source.skipped}


def read(source: Source, index: int) -> bytes:
    image: Any = source[index].image
    return image.read()


def loader_of(source: Source, tokenizer: Tokenizer, **options: Any) -> Loader:
    return Loader(source, tokenizer, ImageSpec(size=8), Augment(), batch_size=5, seed=3, **options)


def epoch_of(loader: Loader, count: int) -> list[str]:
    batches = loader.batches()
    keys = [key for batch in islice(batches, count) for key in batch.keys]
    batches.close()
    return keys


def opened_afresh(source: Source) -> ShardedPairs:
    """The same source as another process would hold it, with no file open and nothing tried before."""
    assert isinstance(source, ShardedPairs)
    return ShardedPairs(list(zip(source.places, source.indexes, strict=True)))
