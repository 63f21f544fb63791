"""The order of samples and the randomness of each are pure functions of seed, epoch and index."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sightword.data.order import order, sample_rng

SEEDS = st.integers(0, 2**63 - 1)
EPOCHS = st.integers(0, 10_000)


@given(count=st.integers(0, 500), seed=SEEDS, epoch=EPOCHS)
def test_an_order_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    assert sorted(order(count, seed, epoch).tolist()) == list(range(count))


@settings(max_examples=50)
@given(calls=st.lists(st.tuples(st.integers(1, 50), SEEDS, EPOCHS), min_size=1, max_size=6), data=st.data())
def test_an_order_depends_on_its_arguments_alone(calls: list[tuple[int, int, int]], data: st.DataObject) -> None:
    first = {call: order(*call).tolist() for call in calls}
    np.random.seed(data.draw(st.integers(0, 1000)))  # the global generator has no say
    for call in data.draw(st.permutations(calls)):
        assert order(*call).tolist() == first[call]


@settings(max_examples=50)
@given(seed=SEEDS, other_seed=SEEDS, epoch=EPOCHS, other_epoch=EPOCHS)
def test_epochs_and_seeds_differ(seed: int, other_seed: int, epoch: int, other_epoch: int) -> None:
    # 64 items agree by chance once in 64! draws.
    if epoch != other_epoch:
        assert order(64, seed, epoch).tolist() != order(64, seed, other_epoch).tolist()
    if seed != other_seed:
        assert order(64, seed, epoch).tolist() != order(64, other_seed, epoch).tolist()


@settings(max_examples=50)
@given(seed=SEEDS, epoch=EPOCHS, index=st.integers(0, 2**40))
def test_a_sample_s_random_numbers_are_its_own(seed: int, epoch: int, index: int) -> None:
    def draw(*place: int) -> list[float]:
        return sample_rng(*place).random(4).tolist()

    own = draw(seed, epoch, index)
    sample_rng(seed, epoch, index + 1).random(100)
    assert draw(seed, epoch, index) == own
    neighbours = [(seed, epoch, index + 1), (seed, epoch + 1, index), (seed + 1, epoch, index), (epoch, seed, index)]
    for place in neighbours:
        if place != (seed, epoch, index):
            assert draw(*place) != own


def test_streams_of_neighbouring_samples_do_not_overlap() -> None:
    # A stream that ran on into the next sample's would correlate their augmentations.
    long = set(sample_rng(1, 2, 3).random(4000).tolist())
    for index in (2, 4, 5):
        assert not long & set(sample_rng(1, 2, index).random(4000).tolist())


def test_every_place_is_as_likely_for_every_sample() -> None:
    counts = np.zeros((8, 8))
    for epoch in range(1600):
        counts[np.arange(8), order(8, 0, epoch)] += 1
    # 200 expected in each of 64 cells; six standard deviations are 79.
    assert np.abs(counts - 200).max() < 79


def test_the_order_of_this_version_is_the_order_of_the_next() -> None:
    # A run that was begun with an older version goes on with the same samples.
    assert order(10, seed=0, epoch=0).tolist() == [3, 2, 9, 7, 1, 5, 0, 4, 8, 6]
    assert sample_rng(0, 0, 5).integers(0, 1000, 4).tolist() == [713, 230, 804, 709]
