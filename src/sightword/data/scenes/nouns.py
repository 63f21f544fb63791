"""How things are called: articles, plurals, numbers, lists."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from sightword.data.scenes.grammar import scene_grammar

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
# What a name's head comes before: `cup with straw`, `magnifying glass tilted left`.
_AFTER_HEAD = re.compile(
    r" (?=(?:with|without|of|in|on|at|and|over|showing|behind|facing|tilted|done|not|increasing|decreasing|arrival"
    r"|departure)\b)"
)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A countable noun with what describes it: `red cat`. In a text `{x}` is `a red cat`, and its other forms are
    `{x.bare}` and `{x.the}`."""

    bare: str

    def __str__(self) -> str:
        return f"{article(self.bare)} {self.bare}"

    @property
    def the(self) -> str:
        return f"the {self.bare}"


def article(words: str) -> str:
    """a or an, by the sound that follows."""
    nouns, low = scene_grammar().nouns, words.lower()
    if low.startswith(tuple(nouns["a_before"])):
        return "a"
    return "an" if low[:1] in tuple("aeiou8") or low.startswith(tuple(nouns["an_before"])) else "a"


@lru_cache(1 << 14)
def countable(name: str) -> str:
    """What there can be one or two of: `cat`, `pair of jeans`, `piece of bread`."""
    nouns = scene_grammar().nouns
    for measure, names in nouns["measures"].items():
        if name in names:
            return f"{measure} of {name}"
    if name in nouns["signs"]:
        return f"{name} sign"
    head = _AFTER_HEAD.split(name)[0]
    is_plural = head.endswith("s") and not head.endswith(("ss", "us", "is")) and head not in nouns["singular_in_s"]
    return f"set of {name}" if is_plural else name


@lru_cache(1 << 14)
def plural(words: str) -> str:
    """Of a countable: `cats`, `pairs of jeans`, `cups with straw`."""
    if words.endswith(" sign"):
        return words + "s"
    head, *rest = _AFTER_HEAD.split(words, maxsplit=1)
    before, _, last = head.rpartition(" ")
    ending = _plural(last)
    return " ".join(part for part in (before, ending, *rest) if part)


def _plural(word: str) -> str:
    irregular: dict[str, str] = scene_grammar().nouns["irregular"]
    if word.lower() in irregular:
        return irregular[word.lower()]
    if re.search(r"(s|x|z|ch|sh)$", word):
        return word + "es"
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    return word + "s"


def number(count: int) -> str:
    return NUMBERS[count] if count < len(NUMBERS) else str(count)


def joined(phrases: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    *before, end = phrases
    return f"{', '.join(before)} {last} {end}" if before else end


def names_one(of: Collection[str], name: str) -> bool:
    """The name speaks of a colour, or a size: to say another of what it names would be a riddle."""
    return not set(of).isdisjoint(name.lower().split())


def differ(one: str, other: str) -> bool:
    """Two names share no word, and neither could be said of what the other names, so that `no bird` is not said of an
    eagle."""
    return _stems(one).isdisjoint(_stems(other)) and other not in _alike().get(one, ())


def _stems(text: str) -> set[str]:
    return {word.removesuffix("s") for word in text.lower().split()}


@cache
def _alike() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for names in scene_grammar().nouns["alike"]:
        for name in names:
            found.setdefault(name, set()).update(names)
    return found


def words_in(text: str) -> int:
    return len(text.split())


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return text[:1].upper() + text[1:] + ("" if text.endswith(("?", ".")) else ".")
