"""Batches are a function of their number alone: not of workers, not of where a run was taken up again."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.pairs import Batch, Pair, PairList, fraction_of, label_id, split
from sightword.data.tokenizer import Tokenizer

AUGMENT = Augment(
    crop=(0.5, 1.3), aspect=1.2, rotate=10, flip=0.5, brightness=0.3, contrast=0.3, saturation=0.3, hue=20, grey=0.2,
    background=0.5, blur=0.3, erase=0.3,
)  # fmt: skip


@pytest.fixture
def pairs(image_files: list[Path]) -> list[Pair]:
    return [
        Pair(image=file, texts=(f"a {number} thing", f"alias {number}", f"other {number}"), key=file.name)
        for number, file in enumerate(image_files)
    ]


@pytest.fixture
def loader(pairs: list[Pair], tokenizer: Tokenizer) -> Loader:
    return Loader(PairList(pairs[:7]), tokenizer, ImageSpec(size=24), AUGMENT, batch_size=3, seed=11, first=0.5)


def take(loader: Loader, count: int, start: int = 0) -> list[Batch]:
    batches = loader.batches(start)
    taken = list(islice(batches, count))
    batches.close()
    return taken


def same(one: Batch, other: Batch) -> bool:
    return (
        one.keys == other.keys
        and one.skipped == other.skipped
        and torch.equal(one.images, other.images)
        and torch.equal(one.tokens.ids, other.tokens.ids)
        and torch.equal(one.tokens.lengths, other.tokens.lengths)
        and torch.equal(one.labels, other.labels)
    )


def test_a_batch_is_what_a_tower_wants(loader: Loader) -> None:
    batch = take(loader, 1)[0]
    assert batch.images.shape == (3, 3, 24, 24)
    assert batch.images.dtype == torch.uint8
    assert batch.tokens.ids.shape == (3, int(batch.tokens.lengths.max()))
    assert len(batch) == len(batch.tokens) == len(batch.keys) == len(batch.labels) == 3


@pytest.mark.parametrize("workers", [0, 1, 2, 4])
@pytest.mark.parametrize("ahead", [1, 5])
def test_batches_do_not_depend_on_workers(loader: Loader, workers: int, ahead: int) -> None:
    expected = take(replace(loader, workers=1, ahead=4), 6)
    assert all(map(same, take(replace(loader, workers=workers, ahead=ahead), 6), expected))


@pytest.mark.parametrize("start", [1, 2, 5, 9])
def test_a_run_can_be_taken_up_at_any_batch(loader: Loader, start: int) -> None:
    expected = take(loader, 11)[start:]
    fresh = replace(loader)
    assert all(map(same, take(fresh, len(expected), start), expected))


def test_another_seed_is_another_run(loader: Loader) -> None:
    assert not any(map(same, take(loader, 4), take(replace(loader, seed=12), 4)))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 20])
def test_every_pair_comes_once_an_epoch(loader: Loader, batch_size: int) -> None:
    epochs = 5
    batches = take(replace(loader, batch_size=batch_size), -(-7 * epochs // batch_size))
    keys = [key for batch in batches for key in batch.keys]
    for epoch in range(epochs):
        assert Counter(keys[7 * epoch : 7 * epoch + 7]).most_common(1)[0][1] == 1


def test_an_epoch_is_augmented_anew(loader: Loader, pairs: list[Pair]) -> None:
    one = replace(loader, source=PairList(pairs[:1]), batch_size=1)
    first, second = take(one, 2)
    assert first.keys == second.keys
    assert not torch.equal(first.images, second.images)


def test_a_source_smaller_than_a_batch_is_read_from_many_threads(pairs: list[Pair], tokenizer: Tokenizer) -> None:
    # A batch then spans many epochs, whose orders are needed at once.
    tiny = Loader(
        PairList(pairs[:1]), tokenizer, ImageSpec(size=8), Augment(), batch_size=64, seed=0, workers=8, ahead=8
    )
    assert [len(batch) for batch in take(tiny, 10)] == [64] * 10


@pytest.mark.parametrize("broken", ["missing.png", "damaged.png"])
def test_an_unreadable_pair_is_left_out_and_named(
    loader: Loader, pairs: list[Pair], tmp_path: Path, broken: str
) -> None:
    (tmp_path / "damaged.png").write_bytes(pairs[1].image.read_bytes()[:60])
    pairs[2] = replace(pairs[2], image=tmp_path / broken, key="the broken one")
    epoch = take(replace(loader, source=PairList(pairs[:6])), 2)
    stand_in = replace(pairs[1], key="stand-in")
    whole = take(replace(loader, source=PairList([*pairs[:2], stand_in, *pairs[3:6]])), 2)
    assert [skipped.key for batch in epoch for skipped in batch.skipped] == ["the broken one"]
    assert all(skipped.reason for batch in epoch for skipped in batch.skipped)
    assert sum(map(len, epoch)) == 5
    for batch, reference in zip(epoch, whole, strict=True):
        assert len(batch.tokens) == len(batch.labels) == len(batch)
        # The others are what they would have been beside a good picture.
        for key, image in zip(batch.keys, batch.images, strict=True):
            assert torch.equal(image, reference.images[reference.keys.index(key)])


def test_a_batch_of_which_nothing_can_be_read_is_empty(loader: Loader, tmp_path: Path) -> None:
    lost = PairList([Pair(tmp_path / f"{n}.png", ("x",), f"{n}") for n in range(3)])
    batch = take(replace(loader, source=lost), 1)[0]
    assert batch.images.shape == (0, 3, 24, 24)
    assert len(batch) == len(batch.tokens) == len(batch.labels) == 0
    assert len(batch.skipped) == 3


def test_pairs_are_positives_by_their_label_or_by_their_caption(loader: Loader) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    # A mouse face may be called "mouse", as a mouse is: held against each other, neither would be wrong.
    named = [("dog", ""), ("dog", ""), ("Dog", ""), ("cat", "dog"), ("mouse", "mouse face"), ("mouse", "mouse")]
    source = PairList([Pair(image, (text,), str(n), label=label) for n, (text, label) in enumerate(named)])
    batch = take(replace(loader, source=source, batch_size=6), 1)[0]
    rows = dict(zip(batch.keys, batch.labels.tolist(), strict=True))
    assert all(label >= 0 for row in rows.values() for label in row)
    positive = {(a, b) for a in rows for b in rows if a < b and any(map(int.__eq__, rows[a], rows[b]))}
    assert positive == {("0", "1"), ("0", "3"), ("1", "3"), ("4", "5")}


def test_label_ids_hold_in_every_process() -> None:
    # They stand in snapshots and on other ranks; Python's own hash() would change with each start.
    assert label_id("dog") == 8_235_545_678_452_087_305


def test_texts_and_templates_are_all_used_in_their_shares(loader: Loader, pairs: list[Pair]) -> None:
    many = replace(loader, source=PairList(pairs[:1]), batch_size=400, templates=("{}", "a {}."), augment=Augment())
    batch = take(many, 1)[0]
    texts = [many.tokenizer.engine.decode(ids.tolist()).strip() for ids in batch.tokens.ids]
    counts = Counter(texts)
    expected = {"a 0 thing": 100, "a a 0 thing.": 100} | {
        template.format(text): 50 for text in ("alias 0", "other 0") for template in ("{}", "a {}.")
    }
    assert counts.keys() == expected.keys()
    assert all(abs(counts[text] - share) < 5 * share**0.5 for text, share in expected.items())


def test_other_texts_leave_the_augmentation_as_it_was(loader: Loader) -> None:
    one, other = take(loader, 1)[0], take(replace(loader, first=1.0, templates=("{}", "x {}", "y {}")), 1)[0]
    assert torch.equal(one.images, other.images)


def test_a_long_text_is_cut_not_refused(loader: Loader) -> None:
    source = PairList([Pair(np.zeros((4, 4, 3), np.uint8), ("word " * 100,), "long")])
    batch = take(replace(loader, source=source, batch_size=1), 1)[0]
    assert batch.tokens.lengths.tolist() == [loader.tokenizer.spec.context]


def test_closing_the_batches_ends_the_threads(loader: Loader) -> None:
    batches = loader.batches()
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("load")]


def test_every_kind_of_image_can_be_a_pair(loader: Loader, picture: Any, image_files: list[Path]) -> None:
    original: Image.Image = picture(30, 20)
    kinds = [image_files[0], str(image_files[0]), image_files[0].read_bytes(), original, np.asarray(original)]
    source = PairList([Pair(image, ("x",), str(number)) for number, image in enumerate(kinds)])
    plain = replace(loader, source=source, batch_size=5, augment=Augment())
    batch = take(plain, 1)[0]
    images = dict(zip(batch.keys, batch.images, strict=True))
    assert torch.equal(images["0"], images["1"])
    assert torch.equal(images["0"], images["2"])
    assert torch.equal(images["3"], images["4"])


def test_holding_out_is_decided_by_each_key_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sightword.data.pairs._AT_ONCE", 300)
    pairs = [Pair("x.png", ("x",), f"\u00e9 {number}.png") for number in range(2000)]
    rest, held = split(PairList(pairs), 0.2)
    assert [*held] == [pair for pair in pairs if fraction_of(pair.key) < 0.2]
    assert [*rest] == [pair for pair in pairs if fraction_of(pair.key) >= 0.2]
    assert [*rest.keys()] == [pair.key for pair in rest]
    assert abs(len(held) - 400) < 90  # five standard deviations
    assert [pair for pair in pairs if len(split(PairList([pair]), 0.2)[1])] == [*held]
    assert len(split(PairList(pairs), 0.0)[1]) == 0
    assert {*held.keys()} <= {*split(PairList(pairs), 0.3)[1].keys()}
    # Fractions are those of whole numbers of 64 bits, also at the ends of what a float holds of them.
    for pair in pairs[:50]:
        edge = fraction_of(pair.key)
        assert len(split(PairList([pair]), edge)[1]) == 0
        assert len(split(PairList([pair]), float(np.nextafter(edge, 1)))[1]) == 1
