"""Lanes: ranks that fetch their own share of the shards, in an order that is the same for any number of ranks."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.mixture import Mixture
from sightword.data.order import TURNS, windows
from sightword.data.pairs import PairList
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.data.walk import walk
from tests.data.shard_files import make_shards
from tests.data.test_walk import SEEDS, Blocks, pairs_of

SIZES = st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any)


@functools.cache
def plain(count: int) -> PairList:
    return pairs_of("p", count)


def blocks_of(sizes: list[int]) -> Blocks:
    return Blocks(plain(sum(sizes)).pairs, blocks=np.array(sizes))


def drawn(source: Any, seed: int, batch_size: int, lanes: int, batches: int) -> list[tuple[int, int]]:
    return [*map(walk(source, seed, batch_size, lanes), range(batches * batch_size))]


@settings(max_examples=80, deadline=None)
@given(sizes=SIZES, seed=SEEDS, lanes=st.integers(1, 7), rows=st.integers(1, 5), whole=st.booleans())
def test_every_pair_comes_once_an_epoch(sizes: list[int], seed: int, lanes: int, rows: int, whole: bool) -> None:
    source = plain(sum(sizes)) if whole else blocks_of(sizes)
    size, count = lanes * rows, sum(sizes)
    epochs = 4
    batches = -(-epochs * count // size)
    there = drawn(source, seed, size, lanes, batches)
    for epoch in range(epochs):
        assert sorted(index for at, index in there if at == epoch) == list(range(count))
    # An epoch follows the other, but for the batch in which one ends and the other begins.
    assert [epoch for epoch, _ in there] == sorted(epoch for epoch, _ in there) or lanes > 1
    for number in range(batches):
        inside = [epoch for epoch, _ in there[number * size : (number + 1) * size]]
        assert sorted(inside) == [draw // count for draw in range(number * size, (number + 1) * size)]
    # From any position.
    fresh = walk(source, seed, size, lanes)
    for position in range(len(there) - 1, -1, -max(1, len(there) // 7)):
        assert fresh(position) == there[position]


@settings(max_examples=80, deadline=None)
@given(
    sizes=SIZES, seed=SEEDS, epoch=st.integers(0, 9), lanes=st.integers(1, 5), window=st.integers(1, 60)
)  # fmt: skip
@example(sizes=[2], seed=0, epoch=1, lanes=3, window=1)
def test_each_lane_goes_through_blocks_of_its_own(
    sizes: list[int], seed: int, epoch: int, lanes: int, window: int
) -> None:
    owner = np.repeat(np.arange(len(sizes)), sizes)
    found = windows(np.array(sizes), seed, epoch, 0, lanes, window=window)
    lengths = [len(pairs) for pairs, _ in found]
    assert max(lengths) - min(lengths) <= 1
    assert sorted(np.concatenate([pairs for pairs, _ in found]).tolist()) == list(range(sum(sizes)))
    blocks_in = [{*owner[pairs].tolist()} for pairs, _ in found]
    # A block that lies across the ends of lanes is read in each of them; there are not more such than ends.
    assert sum(map(len, blocks_in)) <= len({*owner.tolist()}) + lanes - 1
    for pairs, opened in found:
        assert bool(opened) == bool(len(pairs))  # more lanes than pairs leave some without any
        ends = [at for at, _ in opened[1:]] + [len(pairs)] * bool(opened)
        for (begin, inside), end in zip(opened, ends, strict=True):
            assert {*owner[pairs[begin:end]].tolist()} <= {*inside}
        opened_once = Counter(block for _, inside in opened for block in inside)
        assert max(opened_once.values(), default=1) == 1


def test_the_order_without_lanes_is_that_of_before() -> None:
    # As it was when there were no lanes: runs that were begun then go on.
    [(found, opened)] = windows(np.array([3, 1, 4, 2, 5]), 0, 0, window=5)
    assert found.tolist() == [7, 6, 4, 3, 5, 8, 13, 9, 14, 10, 12, 11, 2, 0, 1]
    assert opened == [(0, [2, 1]), (5, [3, 4]), (12, [0])]


@settings(max_examples=30, deadline=None)
@given(sizes=SIZES, seed=SEEDS, lanes=st.integers(1, 4), weight=st.floats(0.2, 5))
def test_each_source_of_a_mixture_has_its_share_and_its_epochs(
    sizes: list[int], seed: int, lanes: int, weight: float
) -> None:
    parts = [blocks_of(sizes), pairs_of("b", 7)]
    mixture = Mixture(parts, (weight, 1.0), [(), ()])
    size, batches = 2 * lanes, 3 * TURNS // 2  # three blocks of turns in each lane
    there = drawn(mixture, seed, size, lanes, batches)
    first = mixture.begin[1]
    for part, count in enumerate(map(len, parts)):
        mine = [(epoch, index) for epoch, index in there if (index >= first) == bool(part)]
        share = (weight, 1.0)[part] / (weight + 1)
        assert abs(len(mine) - share * len(there)) <= 2 * lanes
        # All of an epoch before the last but one: lanes are ahead of each other by a few draws at most.
        behind = max((epoch for epoch, _ in mine), default=0) - -(-2 * TURNS * lanes // count) - 1
        for epoch in range(behind):
            assert len({index for at, index in mine if at == epoch}) == count
        assert max(Counter(mine).values(), default=1) == 1


LANED = 4


@pytest.fixture
def loader(tmp_path: Path, tokenizer: Tokenizer) -> Loader:
    source = open_pairs(str(make_shards(tmp_path / "here", count=8)))
    blocks = Blocks([*source], blocks=np.full(8, 5))
    return Loader(blocks, tokenizer, ImageSpec(size=8), Augment(flip=0.5), batch_size=8, seed=3, lanes=LANED)


def keys(loader: Loader, count: int, start: int = 0) -> list[list[str]]:
    batches = loader.batches(start)
    found = [[*batch.keys] for batch in islice(batches, count)]
    batches.close()
    return found


def test_the_order_is_the_same_for_any_ranks_and_workers_and_from_any_step(loader: Loader) -> None:
    alone = keys(loader, 12)
    assert keys(replace(loader, lanes=1), 12) != alone
    for ranks in (2, 3, 4, 8):
        shares = [keys(replace(loader, rank=rank, ranks=ranks, workers=ranks % 3), 12) for rank in range(ranks)]
        assert [[key for share in parts for key in share] for parts in zip(*shares, strict=True)] == alone
    for start in (1, 5, 7):
        assert keys(loader, 12 - start, start) == alone[start:]
    mark = loader.order_fingerprint(0)
    assert mark != replace(loader, lanes=1).order_fingerprint(0)
    assert mark == replace(loader, rank=1, ranks=2, workers=0).order_fingerprint(0)


@pytest.mark.parametrize("lanes", [2, 4])
def test_each_rank_fetches_its_share(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, lanes: int
) -> None:
    import fsspec

    fetched: list[str] = []
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    shards, each = 25, 4
    make_shards(tmp_path / "a", count=shards, each=each)
    memory.put(f"{tmp_path}/a/*.tar", "/lanes/")
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("sightword.data.walk.windows", lambda *given: windows(*given, window=4 * lanes))
    get = type(memory).get_file

    def counted(self: Any, path: str, *given: Any, **options: Any) -> Any:
        fetched.append(path)
        return get(self, path, *given, **options)

    monkeypatch.setattr(type(memory), "get_file", counted)
    open_pairs("memory://lanes")  # for the indexes
    whole = Loader(open_pairs("memory://lanes"), tokenizer, ImageSpec(size=4), Augment(), 4, seed=1, workers=0)
    taken: list[str] = []
    of_rank: list[set[str]] = []
    for rank in range(2):
        source = open_pairs("memory://lanes")
        fetched.clear()
        for batch in keys(replace(whole, source=source, rank=rank, ranks=2, lanes=lanes), shards * each // 4):
            taken += batch
        # Shards across the ends of two lanes of one rank may be fetched for each of them.
        assert len(fetched) - len({*fetched}) <= lanes // 2 - 1
        of_rank.append({*fetched})
    assert sorted(taken) == [pair.key for pair in whole.source]
    assert len(of_rank[0] | of_rank[1]) == shards
    assert len(of_rank[0] & of_rank[1]) <= 1
    assert max(map(len, of_rank)) <= shards // 2 + 1
    # Without lanes, all of them.
    fetched.clear()
    keys(replace(whole, source=open_pairs("memory://lanes"), rank=1, ranks=2), shards * each // 4)
    assert len({*fetched}) > 0.9 * shards
