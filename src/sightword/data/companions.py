"""Companions of pairs as they are kept: in columns of a table, or in the JSON record of a shard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sightword.data.pairs import KINDS, Companions

RECORD = "companions"  # the key of a shard's JSON record that they are under


def read_companions(values: Mapping[str, Any]) -> Companions | None:
    """values: by column, of which those with the name of a kind count: a text, a list of texts, or such a list as JSON
    (in a CSV there is nothing else). None where there are no texts."""
    found = {kind: _texts(values.get(kind)) for kind in KINDS}
    return Companions(**found) if any(found.values()) else None


def own_texts(text: str, companions: Companions | None) -> tuple[str, ...]:
    """The texts of a pair: its own, and those that only affirm, which are as true of its picture."""
    return (text, *companions.affirmed) if companions else (text,)


def companions_record(companions: Companions | None) -> dict[str, list[str]]:
    """What `read_companions` reads; nothing for kinds that there are none of."""
    return {kind: [*texts] for kind in KINDS if companions and (texts := companions.of(kind))}


def _texts(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with suppress(ValueError):  # of a text that begins with a bracket
            value = json.loads(value)
    several = value if isinstance(value, list | tuple) else [value]
    # Without lone surrogates, which a JSON record may hold and no Arrow file takes.
    cleaned = (" ".join(text.encode("utf-8", "replace").decode().split()) for text in several if isinstance(text, str))
    return tuple(text for text in cleaned if text)
