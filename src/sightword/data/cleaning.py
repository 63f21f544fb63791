"""What is done to a text before its tokenizer sees it: each family's authors did something else, and what a model was
trained on is what it must be given.

| kind | what | whose |
| --- | --- | --- |
| `none` | nothing: all that is done, the tokenizer's file says | transformers' CLIPModel |
| `lower` | lower case | big_vision for SigLIP |
| `canonical` | lower case, no ASCII punctuation (nor "_"), white space to one space | transformers' SiglipTokenizer |
| `ftfy` | mended by ftfy, HTML entities resolved twice, white space to one space | open_clip's `whitespace` |
| `ftfy_lower` | `ftfy`, then lower case | OpenAI's CLIP, open_clip's `lower` |
| `ftfy_canonical` | mended and resolved as in `ftfy`, "_" to a space, `canonical` | open_clip's `canonicalize` |

Sources: simple_tokenizer.py of openai/CLIP, tokenizer.py of open_clip 3.3, tokenization_siglip.py of transformers 5.
"""

from __future__ import annotations

import html
import string
from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias

Clean: TypeAlias = Literal["none", "lower", "canonical", "ftfy", "ftfy_lower", "ftfy_canonical"]

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_PUNCTUATION_NOR_UNDERSCORE = _NO_PUNCTUATION | {ord("_"): " "}


def clean(texts: Sequence[str], kind: Clean) -> Sequence[str]:
    """Each text as the tokenizer is to see it."""
    return texts if kind == "none" else [*map(_CLEANERS[kind], texts)]


def mend(text: str) -> str:
    """Mojibake and odd characters mended as ftfy does by default, HTML entities resolved twice."""
    # Printable ASCII without entities is what ftfy leaves alone, and what most texts are.
    if text.isascii() and text.isprintable() and "&" not in text:
        return text
    import ftfy  # here, because it takes a tenth of a second

    return html.unescape(html.unescape(ftfy.fix_text(text)))


def _one_space(text: str) -> str:
    # In a printable text, the only white space is " ".
    if text.isprintable() and "  " not in text and text.strip() == text:
        return text
    return " ".join(text.split())


def _canonical(text: str) -> str:
    return _one_space(text.lower().translate(_NO_PUNCTUATION))


def _ftfy(text: str) -> str:
    return _one_space(mend(text))


def _ftfy_lower(text: str) -> str:
    return _one_space(mend(text)).lower()


def _ftfy_canonical(text: str) -> str:
    return _one_space(mend(text).translate(_NO_PUNCTUATION_NOR_UNDERSCORE).lower())


_CLEANERS: dict[Clean, Callable[[str], str]] = {
    "lower": str.lower,
    "canonical": _canonical,
    "ftfy": _ftfy,
    "ftfy_lower": _ftfy_lower,
    "ftfy_canonical": _ftfy_canonical,
}
