"""Labels with all that they are called: the queries of a segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sightword.errors import RequestError
from sightword.labels.prompts import check_labels

_MOST = 32_767  # labels that a mask's int16 can tell apart


def check_names(labels: Sequence[str] | Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Each label with its names, in the order that was given; of a mere list, each is its own name.

    Raises RequestError for none, an empty one, and one that stands twice: a name of two labels could be neither.
    """
    if not isinstance(labels, Mapping):
        labels = {label: (label,) for label in check_labels(labels)}
    clean = check_labels(list(labels))
    if len(clean) > _MOST:
        raise RequestError(f"{len(clean):,} labels: a mask tells {_MOST:,} apart at most")
    named: dict[str, tuple[str, ...]] = {}
    owners: dict[str, str] = {}
    for label, names in zip(clean, labels.values(), strict=True):
        if isinstance(names, str):
            names = (names,)
        if not names:
            raise RequestError(f"the label {label!r} has no names")
        named[label] = check_labels(names)
        for name in named[label]:
            if name in owners:
                raise RequestError(
                    f"the name {name!r} stands for two labels, {owners[name]!r} and {label!r}: remove one"
                )
            owners[name] = label
    return named


def split_names(labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Labels as the command takes them: `car|automobile` is the label `car`, of which both are names."""
    split = [[name for name in label.split("|") if name.strip()] or [label] for label in check_labels(labels)]
    firsts = check_labels([names[0] for names in split])  # car|automobile beside car would be lost
    return check_names(dict(zip(firsts, split, strict=True)))
