"""A table of negated captions, as `sightword data negate` writes it, as a test of what a text tower makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from sightword.config import Positive
from sightword.data.companions import read_companions
from sightword.data.denials import Denial, Denials, OneDenied
from sightword.data.images import ImageLike
from sightword.data.pairs import fraction_of
from sightword.data.readers.base import Reader, Split
from sightword.data.stored import StoredImage
from sightword.data.tables import TEXT_COLUMNS, list_rows, open_table, read_rows
from sightword.errors import ImageError, RequestError

_NEEDED = "denied"
_KNOWN = ("affirmed", "foils", "absent", "present", "missing", "ways")  # lists as long as that of `denied`
_DOUBLE = "double"  # of `ways`: both names stand in the text, one of them affirmed


class NegatedTable(Reader):
    """file: a Parquet table with pictures and columns `text` and `denied`; and those that `sightword data negate`
    writes beside them, where they are there. count: of the pictures, drawn by a hash of their keys."""

    kind: Literal["negated_table"] = "negated_table"
    file: str
    count: Positive = 400

    def has(self, root: Path, split: Split) -> bool:
        return split == "test" and (root / self.file).is_file()

    def read(self, root: Path, split: Split, name: str) -> Denials:
        path = root / self.file
        told = _rows(path)
        stored = [*list_rows(path, str(path))]
        rows = [row for row, values in enumerate(told) if values[_NEEDED]]
        by_key: dict[str, list[int]] = {}
        for row in rows:
            by_key.setdefault(stored[row].key, []).append(row)
        keys = sorted(by_key, key=lambda key: (fraction_of(f"negated {key}"), key))[: self.count]
        denials: list[Denial] = []
        one_denied: list[OneDenied] = []
        for place, key in enumerate(keys):
            for row in by_key[key]:
                found = [*_denials(told[row], place)]
                denials += [one for one in found if isinstance(one, Denial)]
                one_denied += [one for one in found if isinstance(one, OneDenied)]
        images = _images(path, [stored[by_key[key][0]] for key in keys])
        left = len(by_key) - len(keys)
        made = f"{len(keys)} of {len(by_key):,} pictures, by a hash of their keys" if left else ""
        return Denials(name, split, images, keys, denials, one_denied, made=made)


def _rows(path: Path) -> list[dict[str, Any]]:
    import pyarrow

    with open_table(path) as table:
        names = table.schema_arrow.names
        text = next((column for column in TEXT_COLUMNS if column in names), None)
        if text is None or _NEEDED not in names:
            missing = _NEEDED if text else f"{' or '.join(TEXT_COLUMNS)} of captions"
            raise RequestError(
                f"{path}: has no column {missing} (`sightword data negate` writes such tables); it has "
                f"{', '.join(names)}"
            )
        try:
            wanted = [one for one in (text, _NEEDED, *_KNOWN) if one in names]
            rows = table.read(columns=wanted).to_pylist()
        except (pyarrow.ArrowException, OSError) as failure:
            raise RequestError(f"{path}: cannot be read ({failure})") from None
    return [{**row, "text": row[text]} for row in rows]


def _denials(values: Mapping[str, Any], place: int) -> Iterator[Denial | OneDenied]:
    """One for each that is denied, of texts with both names two. Lists of another length are not about the same."""
    companions = read_companions(values)
    denied = companions.denied if companions else ()
    lists = {name: _same(values.get(name), len(denied)) for name in _KNOWN}
    for number, text in enumerate(denied):
        of = {name: found[number] for name, found in lists.items()}
        # A foil is known as the twin of an absence by its name alone.
        twin = bool(of["missing"] and of["absent"])
        if twin and of["ways"] == _DOUBLE:
            yield OneDenied(place, text, affirmed=of["missing"], denied=of["present"])
            yield OneDenied(place, of["absent"], affirmed=of["present"], denied=of["missing"])
        else:
            yield Denial(
                place,
                of["affirmed"] or str(values["text"]),
                text,
                of["foils"] if twin else "",
                of["absent"],
                of["present"],
                of["missing"] if twin else "",
            )


def _same(values: Any, count: int) -> Sequence[str]:
    found = values if isinstance(values, list) else [values] if isinstance(values, str) else []
    return [str(one or "") for one in found] if len(found) == count else [""] * count


def _images(path: Path, stored: Sequence[StoredImage]) -> list[ImageLike]:
    """Paths, or bytes; of what cannot be read none, so that whoever embeds it says so."""
    if stored and stored[0].start is None:
        return [one.file for one in stored]
    order = sorted(range(len(stored)), key=lambda number: stored[number].start or 0)
    found: dict[int, ImageLike] = {}
    for number, content in zip(order, read_rows([stored[number] for number in order], None), strict=True):
        found[number] = b"" if isinstance(content, ImageError) else content
    return [found[number] for number in range(len(stored))]
