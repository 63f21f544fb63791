"""Captions against the same words in another order, as ARO's COCO-Order and Flickr30k-Order have them (Yuksekgonul et
al. 2023, arXiv 2210.01936): nouns and adjectives change places with their like, or all other words do, or trigrams, or
the words within each.

Which word is what says spaCy's en_core_web_sm, as there. Deviations: trigrams are of spaCy's tokens too, and not of
NLTK's, which part a sentence nearly alike; a shuffle that changes nothing is drawn again; and the draws are others.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sightword.data.choices import Choices, of_texts
from sightword.data.readers.base import Reader, Split
from sightword.data.readers.foils import Gathered
from sightword.errors import RequestError

MOST = 30  # words of a caption that are kept, as the authors do
_LEAST = 4  # words, below which there is little to shuffle
_TRIES = 20
TAGGER = "en_core_web_sm"
_NOUNS = {"NN", "NNS", "NNP", "NNPS"}
_ADJECTIVES = {"JJ", "JJR", "JJS"}
_LEFT_OUT = re.compile(r"[,.'!?\"()*#:;~]")


class Word(NamedTuple):
    """A token as the tagger parts it, and its tag of the Penn Treebank."""

    text: str
    tag: str


class WordOrder(Reader):
    """file: a JSON list of `image` and `caption`, a list of captions; each of them is a question. Paths begin in the
    data set's folder. The shuffles are drawn from the caption itself, so that they never change.

    RequestError where spaCy or its English model is not installed."""

    kind: Literal["word_order"] = "word_order"
    file: str

    def has(self, root: Path, split: Split) -> bool:
        return split == "test" and (root / self.file).is_file()

    def read(self, root: Path, split: Split, name: str) -> Choices:
        found = Gathered()
        short = 0
        try:
            entries = json.loads((root / self.file).read_text(encoding="utf-8"))
            captions = [caption for entry in entries for caption in entry["caption"]]
            words = tagged(captions)
            for entry in entries:
                place = found.place(root, entry["image"])
                for number, caption in enumerate(entry["caption"]):
                    text, parts = cleaned(caption), next(words)
                    others = [shuffled(parts, how, caption) for how in SHUFFLES]
                    if len(text.split()) < _LEAST or cleaned(_joined(parts)) in others:
                        short += 1
                        continue
                    key = f"{entry['image']} {number}"
                    kinds = ["caption", *SHUFFLES]
                    found.questions.append(of_texts(key, place, [text, *others], "order", kinds))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as failure:
            raise RequestError(
                f"{root / self.file}: is no list of pictures with captions ({type(failure).__name__}: {failure})"
            ) from None
        made = (
            f"{short:,} captions of fewer than {_LEAST} words, or in which a shuffle changes nothing, are left out"
            if short
            else ""
        )
        return found.choices(name, split, made)


def tagged(captions: Iterable[str]) -> Iterator[list[Word]]:
    """The words of each."""
    for document in _tagger().pipe(captions):
        yield [Word(token.text, token.tag_) for token in document]


@cache
def _tagger() -> Any:
    try:
        import spacy

        return spacy.load(TAGGER, exclude=["parser", "ner", "lemmatizer"])
    except (ImportError, OSError):
        # OSError is what spaCy says of a model that is not there.
        raise RequestError(
            "to shuffle words by what they are, install spaCy and its English model: pip install 'sightword[tags]' and "
            f"python -m spacy download {TAGGER}"
        ) from None


def cleaned(caption: str) -> str:
    """In small letters, without punctuation."""
    return " ".join(_LEFT_OUT.sub("", caption.lower()).replace("-", " ").replace("/", " ").split()[:MOST])


def shuffled(words: Sequence[Word], how: str, seed: str) -> str:
    """In another order, where there is one that is soon found; then cleaned, as there."""
    rng = random.Random(f"{how} {seed}")
    original = cleaned(_joined(words))
    for _ in range(_TRIES):
        found = cleaned(_joined(SHUFFLES[how](words, rng)))
        if found != original:
            return found
    return original


def _joined(words: Iterable[Word]) -> str:
    return " ".join(word.text for word in words)


def _trigrams(words: Sequence[Word]) -> list[Sequence[Word]]:
    return [words[start : start + 3] for start in range(0, len(words), 3)]


def _between(words: Sequence[Word], rng: random.Random) -> list[Word]:
    trigrams = _trigrams(words)
    return [word for trigram in rng.sample(trigrams, len(trigrams)) for word in trigram]


def _within(words: Sequence[Word], rng: random.Random) -> list[Word]:
    return [word for trigram in _trigrams(words) for word in rng.sample(trigram, len(trigram))]


def _among(words: Sequence[Word], places: Sequence[int], rng: random.Random) -> list[Word]:
    """Those at these places change places with each other."""
    found = list(words)
    for place, other in zip(places, rng.sample(places, len(places)), strict=True):
        found[place] = words[other]
    return found


def _nouns_and_adjectives(words: Sequence[Word], rng: random.Random) -> list[Word]:
    found: Sequence[Word] = words
    for tags in (_NOUNS, _ADJECTIVES):
        found = _among(found, [place for place, word in enumerate(words) if word.tag in tags], rng)
    return list(found)


def _all_but(words: Sequence[Word], rng: random.Random) -> list[Word]:
    return _among(words, [place for place, word in enumerate(words) if word.tag not in _NOUNS | _ADJECTIVES], rng)


SHUFFLES: dict[str, Callable[[Sequence[Word], random.Random], list[Word]]] = {
    "nouns and adjectives": _nouns_and_adjectives,
    "all but nouns and adjectives": _all_but,
    "within trigrams": _within,
    "trigrams": _between,
}
