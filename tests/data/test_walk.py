"""What each position draws: blocks that are read once, exact shares of several sources, fingerprints of an order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.mixture import Mixture
from sightword.data.order import TURNS, turns, windows
from sightword.data.pairs import Pair, PairList, Subset
from sightword.data.tokenizer import Tokenizer
from sightword.data.walk import walk

SEEDS = st.integers(0, 2**63 - 1)


def pairs_of(name: str, count: int) -> PairList:
    image = np.zeros((4, 4, 3), np.uint8)
    return PairList([Pair(image, (f"{name} {n}",), f"{name}{n}") for n in range(count)])


@dataclass(frozen=True)
class Blocks(PairList):
    """Pairs that are read in blocks, and what was expected when."""

    blocks: np.ndarray = field(default_factory=lambda: np.array([], np.int64))  # type: ignore[assignment]
    expected: list[list[int]] = field(default_factory=list)
    held: list[int] = field(default_factory=list)

    def expect(self, blocks: Sequence[int], held: int) -> None:
        self.expected.append([*blocks])
        self.held.append(held)


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(any),
    seed=SEEDS,
    epoch=st.integers(0, 50),
    window=st.integers(1, 60),
)
def test_windows_are_a_permutation_in_which_each_block_is_open_once(
    sizes: list[int], seed: int, epoch: int, window: int
) -> None:
    blocks = np.array(sizes)
    [(found, opened)] = windows(blocks, seed, epoch, window=window)
    assert sorted(found.tolist()) == list(range(sum(sizes)))
    assert sorted(block for _, inside in opened for block in inside) == list(range(len(sizes)))
    owner = np.repeat(np.arange(len(sizes)), sizes)
    ends = [at for at, _ in opened[1:]] + [sum(sizes)]
    for (begin, inside), end in zip(opened, ends, strict=True):
        assert {*owner[found[begin:end]].tolist()} <= {*inside}
    for _, inside in opened[:-1]:
        assert len(inside) >= 2
        assert blocks[inside].sum() >= window
        assert len(inside) == 2 or blocks[inside[:-1]].sum() < window  # no larger than it need be
    [(again, _)] = windows(blocks, seed, epoch, window=window)
    assert np.array_equal(found, again)


def test_a_window_mixes_its_blocks_and_epochs_differ() -> None:
    blocks = np.full(8, 100)
    [(first, opened)] = windows(blocks, 0, 0, window=400)
    assert [at for at, _ in opened] == [0, 400]
    assert {*(first[:50] // 100).tolist()} == {*opened[0][1]}
    assert not np.array_equal(first, windows(blocks, 0, 1, window=400)[0][0])
    assert not np.array_equal(first, windows(blocks, 1, 0, window=400)[0][0])
    assert not np.array_equal(first, windows(blocks, 0, 0, 1, window=400)[0][0])


def test_the_blocks_of_the_next_window_are_asked_for_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightword.data.walk.windows", lambda *given: windows(*given, window=20))
    source = Blocks(pairs_of("a", 60).pairs, blocks=np.full(6, 10))
    there = walk(source, 5)
    [(_, opened)] = windows(source.blocks, 5, 0, window=20)
    for position in range(60):
        there(position)
        assert source.expected == [inside for _, inside in [*opened[1:], (60, [])][: position // 20 + 1]]
    assert {*source.held} == {3 * 2}
    # Taken up in the middle of an epoch, only what is still to come is fetched.
    late = Blocks(source.pairs, blocks=source.blocks)
    walk(late, 5)(25)
    assert late.expected == [opened[2][1]]


def test_a_part_of_a_source_keeps_its_blocks() -> None:
    source = Blocks(pairs_of("a", 30).pairs, blocks=np.full(3, 10))
    some = Subset(source, np.array([0, 5, 11, 28, 29], np.uint32))
    assert some.blocks is not None
    assert some.blocks.tolist() == [2, 1, 2]
    there = walk(some, 0)
    assert sorted(there(position)[1] for position in range(5)) == [0, 1, 2, 3, 4]
    assert Subset(PairList(source.pairs), some.indices).blocks is None


@settings(max_examples=40, deadline=None)
@example(weights=[1.0, 13.0, 100.0, 0.5, 1.0], seed=0, number=1)
@given(weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=5), seed=SEEDS, number=st.integers(0, 10**9))
def test_shares_are_exact_to_a_few_draws(weights: list[float], seed: int, number: int) -> None:
    drawn, before = turns(weights, seed, number)
    assert len(drawn) == TURNS
    assert sum(before) == number * TURNS
    share = np.array(weights) / sum(weights)
    after = np.array(before) + np.bincount(drawn, minlength=len(weights))
    # Shares are held as whole numbers of 32 bits.
    slack = 1 + len(weights) / 2 + (number + 1) * TURNS * len(weights) * 2.0**-32
    assert np.all(np.abs(after - share * (number + 1) * TURNS) <= slack)
    assert turns(weights, seed, number + 1)[1] == after.tolist()


def test_each_source_of_a_mixture_goes_through_epochs_of_its_own() -> None:
    mixture = Mixture([pairs_of("a", 30), pairs_of("b", 7)], (3.0, 1.0), [("{}",), ("{}",)])
    there = walk(mixture, 1)
    drawn = [there(position) for position in range(TURNS * 10)]
    keys = [mixture[index].key for _, index in drawn]
    for number, (count, share) in enumerate(((30, 480), (7, 160))):
        mine = [key for key in keys if key.startswith(f"{number}:")]
        assert len(mine) == share
        for at in range(0, share - count + 1, count):
            assert Counter(mine[at : at + count]).most_common(1)[0][1] == 1
    assert max(epoch for epoch, index in drawn if index >= 30) == 160 // 7
    # From any position, and from several threads.
    fresh = walk(mixture, 1)
    assert [fresh(position) for position in range(500, 640)] == drawn[500:640]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(walk(mixture, 1), range(640))] == drawn


@pytest.mark.parametrize("lanes", [1, 4])
def test_batches_of_one_source_each(lanes: int) -> None:
    size = 8
    mixture = Mixture([pairs_of("a", 30), pairs_of("b", 7)], (3.0, 1.0), [(), ()], apart=True)
    there = walk(mixture, 1, size, lanes)
    drawn = [there(position) for position in range(TURNS * size)]
    keys = [mixture[index].key for _, index in drawn]
    parts = [{key[0] for key in keys[at : at + size]} for at in range(0, len(keys), size)]
    # Batches have the shares that draws have otherwise; each source goes through whole epochs.
    assert Counter(tuple(part) for part in parts) == {("0",): 48, ("1",): 16}
    for number, (count, share) in enumerate(((30, 48 * size), (7, 16 * size))):
        epochs = Counter(epoch for epoch, index in drawn if mixture[index].key.startswith(f"{number}:"))
        assert epochs == Counter(n // count for n in range(share))
        mine = [drawn_ for drawn_ in drawn if mixture[drawn_[1]].key.startswith(f"{number}:")]
        assert len({*mine}) == share
    # From any position, and from several threads.
    fresh = walk(mixture, 1, size, lanes)
    assert [fresh(position) for position in range(300, 512)] == drawn[300:512]
    with ThreadPoolExecutor(4) as pool:
        assert [*pool.map(walk(mixture, 1, size, lanes), range(512))] == drawn
    marks = {walk(mixture, 1, size, lanes).fingerprint(0), walk(mixture, 1, 2 * size, lanes).fingerprint(0)}
    assert len({*marks, walk(replace(mixture, apart=False), 1, size, lanes).fingerprint(0)}) == 3


def test_the_text_of_labels_is_their_class() -> None:
    named = PairList([replace(pair, label="a class") for pair in pairs_of("a", 1).pairs])
    mixture = Mixture([named, pairs_of("b", 1), named], (1.0, 1.0, 1.0), [(), (), ()], ["labels", "labels", "captions"])
    assert [(pair.texts, pair.name, pair.kind) for pair in mixture] == [
        (("a class",), "a class", "labels"),
        (pairs_of("b", 1)[0].texts, pairs_of("b", 1)[0].name, "labels"),
        (named[0].texts, "a class", "captions"),
    ]


def test_a_mixture_is_a_source(tokenizer: Tokenizer) -> None:
    mixture = Mixture([pairs_of("a", 3), PairList(pairs_of("b", 2).pairs)], (1.0, 1.0), [("web: {}", "web: a {}."), ()])
    assert [pair.key for pair in mixture] == ["0:a0", "0:a1", "0:a2", "1:b0", "1:b1"]
    assert [mixture[n] for n in range(5)] == [*mixture]
    with pytest.raises(IndexError):
        mixture[5]
    loader = Loader(mixture, tokenizer, ImageSpec(size=4), Augment(), batch_size=TURNS, seed=0, templates=("plain {}",))
    batches = loader.batches()
    batch = next(batches)
    batches.close()
    texts = [loader.tokenizer.engine.decode(ids.tolist()).strip() for ids in batch.tokens.ids]
    begins = Counter((key[0], text.split()[0]) for key, text in zip(batch.keys, texts, strict=True))
    assert begins == {("0", "web:"): TURNS // 2, ("1", "plain"): TURNS // 2}
    # Captions are the same whatever stands before them: sources that share one are positives of each other.
    bare = replace(loader, source=replace(mixture, templates=[(), ()])).batches()
    assert next(bare).labels.tolist() == batch.labels.tolist()
    bare.close()


def test_the_fingerprint_of_an_order(tokenizer: Tokenizer, tmp_path: Path) -> None:
    source = pairs_of("a", 20)
    loader = Loader(source, tokenizer, ImageSpec(size=4), Augment(), batch_size=4, seed=0)
    mark = loader.order_fingerprint(0)
    assert len(mark) == 16
    int(mark, 16)
    same = [
        replace(loader, batch_size=7, workers=5, augment=Augment(flip=1.0)),
        replace(loader, source=PairList([replace(pair, image=tmp_path) for pair in source.pairs])),
    ]
    assert {other.order_fingerprint(0) for other in same} == {mark}
    mixture = Mixture([source, pairs_of("b", 5)], (1.0, 1.0), [(), ()])
    others = [
        loader.order_fingerprint(1),
        replace(loader, seed=1).order_fingerprint(0),
        replace(loader, source=pairs_of("b", 20)).order_fingerprint(0),
        replace(loader, source=PairList(source.pairs[:-1])).order_fingerprint(0),
        replace(loader, source=Subset(source, np.arange(20, dtype=np.uint32))).order_fingerprint(0),
        replace(loader, source=Blocks(source.pairs, blocks=np.array([10, 10]))).order_fingerprint(0),
        replace(loader, source=Blocks(source.pairs, blocks=np.array([5, 15]))).order_fingerprint(0),
        replace(loader, source=mixture).order_fingerprint(0),
        replace(loader, source=replace(mixture, weights=(1.0, 2.0))).order_fingerprint(0),
    ]
    assert len({mark, *others}) == 1 + len(others)


def test_ten_million_pairs_are_drawn_from_without_a_list_of_them(tokenizer: Tokenizer) -> None:
    class Many(PairList):
        def __len__(self) -> int:
            return 10_000_000

        def __getitem__(self, index: int, /) -> Pair:
            return Pair(np.zeros((2, 2, 3), np.uint8), ("a red circle",), str(index))

    loader = Loader(Many([]), tokenizer, ImageSpec(size=2), Augment(), batch_size=8, seed=0)
    keys = [key for batch in islice(loader.batches(1_249_999), 2) for key in batch.keys]
    assert len({*keys[:8]}) == len({*keys[8:]}) == 8
    orders = loader._walk.epochs._orders  # type: ignore[attr-defined]
    assert sum(found.nbytes for found in orders.values()) <= 2 * 40_000_000
