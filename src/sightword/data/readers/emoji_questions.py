"""Real drawings as a test of negation: `a cat, not a dog`, or the other way round?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from sightword.data.choices import Choice, Choices, of_texts
from sightword.data.pairs import Pair, fraction_of
from sightword.data.readers.base import Reader, Split
from sightword.data.readers.packages import code_points, emoji_benchmark, unicode_groups

_BOTH = ("{x}, not {y}", "{x} and no {y.bare}", "{x} but not {y}", "{x} without {y}", "not {y} but {x}")
_DENIALS = ("not {y}", "no {y.bare}", "without {y}", "this is not {y}", "there is no {y.bare}")
_AFFIRMATIONS = ("{x}", "a picture of {x}", "this is {x}", "there is {x}")
FORMS = {"affirmation": _AFFIRMATIONS, "negation": _DENIALS, "both": _BOTH}
"""By what a question does: `x` is what the picture shows, `y` another name of its subgroup."""
_NO_THINGS = frozenset({"flags", "symbols"})


class EmojiQuestions(Reader):
    """Three questions about each name that two vendors draw whom training never met (one of their drawings, by a hash):
    two texts of one form, that affirm a name, deny one, or both. The other name is of the same subgroup of Unicode's
    list and shares no word with it. Flags and symbols are left out: of them there is no `a` and no `no`."""

    kind: Literal["emoji_questions"] = "emoji_questions"

    def has(self, root: Path, split: Split) -> bool:
        return split == "test"

    def read(self, root: Path, split: Split, name: str) -> Choices:
        chosen = _drawings()
        subgroups: dict[str, list[str]] = {}
        for other, (_, subgroup) in chosen.items():
            subgroups.setdefault(subgroup, []).append(other)
        pairs: list[Pair] = []
        questions: list[Choice] = []
        for own, (pair, subgroup) in chosen.items():
            foil = _foil(own, subgroups[subgroup])
            if foil:
                questions += _questions(pair.key, len(pairs), own, foil)
                pairs.append(pair)
        return Choices(name, split, [pair.image for pair in pairs], [pair.key for pair in pairs], questions)


def _drawings() -> dict[str, tuple[Pair, str]]:
    """Of each name one drawing, and its subgroup."""
    groups, found = unicode_groups(), dict[str, list[Pair]]()
    for pair in emoji_benchmark().unseen_vendors.pairs:
        if groups.get(code_points(pair), ("flags", ""))[0] not in _NO_THINGS:
            found.setdefault(pair.name, []).append(pair)
    chosen = {name: min(pairs, key=lambda pair: fraction_of(pair.key)) for name, pairs in sorted(found.items())}
    return {name: (pair, groups[code_points(pair)][1]) for name, pair in chosen.items()}


def _foil(name: str, names: Sequence[str]) -> str | None:
    from sightword.data.scenes.nouns import differ

    others = [other for other in names if other != name and differ(name, other) and differ(other, name)]
    return min(others, key=lambda other: fraction_of(f"{name}\0{other}"), default=None)


def _questions(key: str, place: int, name: str, foil: str) -> Sequence[Choice]:
    from sightword.data.scenes.captions import said
    from sightword.data.scenes.nouns import Phrase, countable

    own, other = Phrase(countable(name)), Phrase(countable(foil))
    found = []
    for kind, forms in FORMS.items():
        form = forms[int(fraction_of(f"{key} {kind}") * len(forms))]
        true, false = ({"x": x, "y": y} for x, y in ((own, other), (other, own)))
        found.append(of_texts(f"{key} {kind}", place, (said(form, true), said(form, false)), kind))
    return found
