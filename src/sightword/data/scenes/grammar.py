"""Sentences from rules that a person can read: grammar.toml says how they are written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

_TOKEN = re.compile(r"[()\[\]|]|<[^<>]+>|[^()\[\]|<>]+")


@dataclass(frozen=True, slots=True)
class _Rule:
    name: str


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of these sequences is drawn."""

    of: tuple[tuple[_Part, ...], ...]


_Part = str | _Rule | _Choice


class Grammar:
    """rules: alternatives by the name of what they say. nouns: how names are said. Raises ValueError for a rule that
    cannot be read or names one that is not there."""

    def __init__(self, rules: Mapping[str, Sequence[str]], nouns: Mapping[str, Any]) -> None:
        self.nouns = nouns
        self._rules = {name: _Choice(tuple(_parse(text) for text in texts)) for name, texts in rules.items()}
        for name, texts in rules.items():
            for wanted in re.findall(r"<([^<>]+)>", " ".join(texts)):
                if wanted not in self._rules:
                    raise ValueError(f"the rule {name!r} names {wanted!r}, which is none")

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(self._rules)

    def draw(self, rule: str, rng: np.random.Generator) -> str:
        """One form of a rule; its slots `{x}` are left for str.format, so that texts can share a form."""
        return re.sub(r" +", " ", self._said(self._rules[rule], rng)).strip()

    def forms(self, rule: str) -> int:
        """How many ways to draw a rule there are."""
        return self._count(self._rules[rule])

    def _said(self, part: _Part, rng: np.random.Generator) -> str:
        if isinstance(part, str):
            return part
        if isinstance(part, _Rule):
            return self._said(self._rules[part.name], rng)
        chosen = part.of[int(rng.integers(len(part.of)))]
        return "".join(self._said(one, rng) for one in chosen)

    def _count(self, part: _Part) -> int:
        if isinstance(part, str):
            return 1
        if isinstance(part, _Rule):
            return self.forms(part.name)
        total = 0
        for chosen in part.of:
            ways = 1
            for one in chosen:
                ways *= self._count(one)
            total += ways
        return total


@cache
def scene_grammar() -> Grammar:
    """That of the file beside this one."""
    read = tomllib.loads(files(__package__).joinpath("grammar.toml").read_text(encoding="utf-8"))
    return Grammar(read["rules"], read["nouns"])


def _parse(text: str) -> tuple[_Part, ...]:
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"{text!r}: a rule's name stands between < and >")
    parts, end = _sequence(tokens, 0, text)
    if end != len(tokens):
        raise ValueError(f"{text!r}: {tokens[end]!r} closes nothing")
    return parts


def _sequence(tokens: Sequence[str], place: int, text: str) -> tuple[tuple[_Part, ...], int]:
    """What stands up to the next bracket or stroke that belongs to something outside."""
    parts: list[_Part] = []
    while place < len(tokens) and tokens[place] not in ")]|":
        token = tokens[place]
        if token in "([":
            found, place = _choice(tokens, place, text)
            parts.append(found)
        else:
            parts.append(_Rule(token[1:-1]) if token.startswith("<") else token)
            place += 1
    return tuple(parts), place


def _choice(tokens: Sequence[str], place: int, text: str) -> tuple[_Choice, int]:
    close = ")" if tokens[place] == "(" else "]"
    found: list[tuple[_Part, ...]] = [] if close == ")" else [()]
    while True:
        parts, place = _sequence(tokens, place + 1, text)
        found.append(parts)
        if place == len(tokens) or tokens[place] not in ("|", close):
            raise ValueError(f"{text!r}: {close!r} is missing")
        if tokens[place] == close:
            return _Choice(tuple(found)), place + 1
