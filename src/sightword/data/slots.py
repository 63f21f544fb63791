"""Texts with gaps for words that no token stands for: a picture's, in a composed query; and the captions from which the
projection that makes such words learns (LinCIR, arXiv 2312.01998, section 3.2).

Shapes: B texts, L tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError

SLOT = "$"  # in a sentence that a user writes
PHOTO = ("a photo of", "")
COMPOSED = "a photo of $ that {}"
Parts = Sequence[str]

# What is no noun, adjective or determiner, of the words that English has a fixed number of; and its commonest verbs.
_OTHERS = """
about above across after against along amid among around as at before behind below beneath beside besides between
beyond by despite down during except for from in inside into like near of off on onto opposite out outside over past
per round since through throughout till to toward towards under underneath until up upon via with within without and
but or nor yet so if because although though while whereas unless than that whether when where which who whom whose
what why how i you he she it we they me him us them myself yourself himself herself itself ourselves themselves one
ones mine yours hers ours theirs there here this these those be am is are was were been being do does did done doing
have has had having can could will would shall should may might must get gets got make makes made go goes went gone
come comes came stand stands stood sit sits sat lie lies lay hold holds held wear wears wore look looks looked show
shows showed shown see sees seen saw seem seems seemed not no never only just also too very quite rather almost still
already even again once twice always often away back together apart ahead forward forth nearly maybe perhaps two three
four five six seven eight nine ten eleven twelve several many much few
"""
_STAY = frozenset(_OTHERS.split())
_WORD = re.compile(r"[^\W\d_](?:[\w'’-]*\w)?")


def hide_keywords(text: str) -> tuple[str, ...]:
    """The parts of a caption between its keywords: each run of nouns, adjectives and determiners is a gap. A caption
    without any is `a photo of` a gap.

    Deviation: LinCIR asks a tagger (spaCy). Here the words of the closed classes stay, as numbers, marks, the commonest
    verbs, participles in `-ing` and adverbs in `-ly` do, and all others are keywords: other verbs too.
    """
    parts: list[str] = [""]
    end, before = 0, False  # of the last word; whether that was a keyword
    for found in _WORD.finditer(text):
        between, word = text[end : found.start()], found.group()
        keyword = _is_keyword(word)
        if keyword and before and not between.strip():
            end = found.end()
            continue
        parts[-1] += between if keyword else between + word
        if keyword:
            parts.append("")
        end, before = found.end(), keyword
    parts[-1] += text[end:]
    return tuple(part.strip() for part in parts) if len(parts) > 1 else PHOTO


def _is_keyword(word: str) -> bool:
    word = word.lower()
    return word not in _STAY and not (len(word) > 4 and word.endswith(("ing", "ly")))


def fill_template(template: str, text: str) -> tuple[str, ...]:
    """The parts of `a photo of $ that {}` with the text in the place of `{}`; a `$` of its own stays one. Raises
    RequestError for a template that lacks one of the two."""
    if SLOT not in template or "{}" not in template:
        raise RequestError(f"template {template!r}: needs {SLOT} for the picture and {{}} for the text")
    return tuple(part.replace("{}", text).strip() for part in template.split(SLOT))


def encode_slotted(
    tokenizer: Tokenizer, texts: Sequence[Parts], truncate: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Ids [B, L], lengths [B] as of `Tokenizer.encode`, and where the gaps are: bool [B, L]. texts: each as its parts,
    between which are the gaps. A text that does not fit the context raises RequestError, or is cut (`truncate`)."""
    spec, before, room = tokenizer.spec, len(tokenizer.begin), tokenizer.room
    gap = 0 if spec.pad_id else 1  # any id that is no padding: its vector is not looked at
    ids_PL, lengths_P = tokenizer.encode([part for parts in texts for part in parts], truncate=True)
    pieces = iter(zip(ids_PL, lengths_P, strict=True))
    rows: list[list[int]] = []
    gaps: list[list[int]] = []
    for parts in texts:
        row = [*tokenizer.begin]
        at: list[int] = []
        for number, _ in enumerate(parts):
            ids, length = next(pieces)
            if number:
                at.append(len(row))
                row.append(gap)
            row += ids[before : length - 1].tolist()
        if len(row) - before > room:
            if not truncate:
                raise RequestError(
                    f"{f' {SLOT} '.join(parts)!r} has {len(row) - before} tokens; the model reads at most {room}: "
                    "shorten it"
                )
            del row[room + before :]
        rows.append([*row, spec.end_id])
        gaps.append([place for place in at if place < len(row)])
    lengths = np.array([len(row) for row in rows], np.int64)
    width = spec.context if spec.pad_to_context else int(lengths.max(initial=0))
    ids_BL = np.full((len(rows), width), spec.pad_id, np.int64)
    at_BL = np.zeros((len(rows), width), np.bool_)
    for number, row in enumerate(rows):
        ids_BL[number, : len(row)] = row
        at_BL[number, gaps[number]] = True
    return ids_BL, lengths, at_BL
