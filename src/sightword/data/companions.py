"""Companions of pairs as they are kept: in columns of a table, or in the JSON record of a shard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from sightword.data.pairs import KINDS, Companions, Kind

RECORD = "companions"  # the key of a shard's JSON record that they are under


def read_companions(values: Mapping[str, Any]) -> Companions | None:
    """values: by column, of which those with the name of a kind count: a text, a list of texts, or such a list as JSON
    (in a CSV there is nothing else); of questions such a list, or a list of such lists. None where there are no
    texts."""
    found: dict[Kind, Any] = {kind: _texts(_parsed(values.get(kind))) for kind in KINDS if kind != "mcq"}
    found["mcq"] = _questions(_parsed(values.get("mcq")))
    return Companions(**found) if any(found.values()) else None


def own_texts(text: str, companions: Companions | None) -> tuple[str, ...]:
    """The texts of a pair: its own, and those that only affirm, which are as true of its picture."""
    return (text, *companions.affirmed) if companions else (text,)


def companions_record(companions: Companions | None) -> dict[str, Any]:
    """What `read_companions` reads; nothing for kinds that there are none of."""
    return {kind: texts for kind, texts in asdict(companions).items() if texts} if companions else {}


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # of a text that begins with a bracket
            return json.loads(value)
    return value


def _questions(value: Any) -> tuple[tuple[str, ...], ...]:
    several = isinstance(value, list | tuple) and any(isinstance(options, list | tuple) for options in value)
    found = map(_texts, value if several else [value])
    return tuple(options for options in found if options)


def _texts(value: Any) -> tuple[str, ...]:
    several = value if isinstance(value, list | tuple) else [value]
    # Without lone surrogates, which a JSON record may hold and no Arrow file takes.
    cleaned = (" ".join(text.encode("utf-8", "replace").decode().split()) for text in several if isinstance(text, str))
    return tuple(text for text in cleaned if text)
