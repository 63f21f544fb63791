"""Texts to ids word by word, for tokenizers of CLIP's kind: each word is split once, however often it is met.

Such a tokenizer cuts a text into pieces that hold no white space, and the tokens of a piece depend on nothing beside
it. So the ids of a text are those of its words, one after the other. Prompts repeat their words: 80 templates for 1,000
names are 640,000 words, of which 2,000 differ.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as Engine

Ids = NDArray[np.int64]

# The pieces of OpenAI's simple_tokenizer.py; as it matches them, without regard to case; as transformers 5 writes them.
PIECES = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
PIECES_OF_ANY_CASE = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_KNOWN = (PIECES, PIECES_OF_ANY_CASE, rf"<\|startoftext\|>|<\|endoftext\|>|{PIECES}")
_SPACES = {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "}
# What changes a text without a look over a space.
_NORMALIZERS = ({"type": "NFC"}, {"type": "Lowercase"}, _SPACES)

_KEPT = 1 << 16  # words that a tokenizer remembers
_LONG = 40  # characters; a longer word is not met again
_BREAK = "\n"  # between texts, as a word


def splits_at_spaces(engine: Engine) -> bool:
    """Whether the ids of a text are those of its words. False where that is not known."""
    pieces, normalizer = _parts(engine.pre_tokenizer), _parts(engine.normalizer)
    return (
        len(pieces) == 2
        and pieces[0]["type"] == "Split"
        and pieces[0]["pattern"] in [{"Regex": known} for known in _KNOWN]
        and (pieces[0]["behavior"], pieces[0]["invert"]) == ("Removed", True)
        and (pieces[1]["type"], pieces[1].get("add_prefix_space")) == ("ByteLevel", False)
        and all(part in _NORMALIZERS for part in normalizer)
        # Special tokens are spelled out here; any other would be looked for across spaces.
        and all(token.special for token in engine.get_added_tokens_decoder().values())
    )


def encode_texts(engine: Engine, texts: Sequence[str]) -> tuple[Ids, Ids]:
    """The ids of all texts in a row, without special tokens, and how many each text has."""
    rows = [encoding.ids for encoding in engine.encode_batch_fast([*map(_whole, texts)], add_special_tokens=False)]
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    return np.fromiter(chain.from_iterable(rows), np.int64, int(counts.sum())), counts


class Words:
    """encode_texts for an engine that splits at spaces. What it remembers is bounded."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> tuple[Ids, Ids]:
        joined = f" {_BREAK} ".join(texts)
        if joined.count(_BREAK) >= len(texts):
            joined = f" {_BREAK} ".join(text.replace(_BREAK, " ") for text in texts)
        words = joined.split(" ")
        # Row r of the tables below is the word that was met as the r-th new one; row 0 ends a text.
        row_of = {word: row for row, word in enumerate(dict.fromkeys((_BREAK, *words)))}
        # Threads may share a tokenizer: a new dictionary takes the place of a full one, which others may still read.
        known = self._known if len(self._known) <= _KEPT else {}
        self._known = known
        new = [word for word in row_of if word not in known and word != _BREAK]
        if 2 * len(new) > len(words):
            # Hardly a word comes twice: as whole texts they take half the time.
            return encode_texts(self.engine, texts)
        found = self._encode(new)
        known.update({word: found[word] for word in new[:_KEPT] if len(word) <= _LONG})
        ids_of = [found[word] if word in found else known[word] for word in [*row_of][1:]]
        size_R = np.fromiter(chain((0,), map(len, ids_of)), np.int64, len(row_of))
        table = np.fromiter(chain.from_iterable(ids_of), np.int64, int(size_R.sum()))
        start_R = size_R.cumsum() - size_R

        row_W = np.fromiter(map(row_of.__getitem__, words), np.int64, len(words))
        size_W = size_R[row_W]
        end_W = size_W.cumsum()
        total = int(end_W[-1])
        ids = table[np.repeat(start_R[row_W] - (end_W - size_W), size_W) + np.arange(total)]
        ends = np.append(end_W[row_W == 0], total) if len(texts) else np.zeros(0, np.int64)
        return ids, np.diff(ends, prepend=0)

    def _encode(self, words: Sequence[str]) -> dict[str, list[int]]:
        if not words:
            return {}
        ids, counts = encode_texts(self.engine, words)
        return dict(zip(words, map(np.ndarray.tolist, np.split(ids, counts.cumsum()[:-1])), strict=True))


def _parts(component: Any) -> list[dict[str, Any]]:
    """The settings of a normalizer or pre-tokenizer, in the form of tokenizer.json, as a list."""
    if component is None:
        return []
    told = json.loads(component.__getstate__())
    return next((told[key] for key in ("normalizers", "pretokenizers") if key in told), [told])


def _whole(text: str) -> str:
    # Lone surrogates, as in file names that are not UTF-8, cannot be encoded.
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
