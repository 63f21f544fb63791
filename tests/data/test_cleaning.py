"""Texts are cleaned as each family's own library does it."""

from __future__ import annotations

import html
from types import ModuleType

import ftfy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightword.data.cleaning import Clean, clean, mend

# What the kinds differ in: mojibake, entities (also twice), punctuation, case, white space, code points that are none.
ODD = [
    "",
    "  A photo of\ta CAT. \n",
    "it’s “quoted” — ﬁne…",
    "cafÃ© naÃ¯ve",
    "R&amp;amp;B &lt;b&gt; &#x41;&nbsp;&hellip;",
    "snake_case_name (x-ray)",
    "ＦＵＬＬ ｗｉｄｔｈ",
    "a\x00b\x1b[31mred\x1b[0m\x7f\r\nc\u2028d\u3000e",
    "ΟΔΟΣ İstanbul ẞ ſ",
    "a lone \ud83d surrogate and \udca9",
    "\ud83d\udca9 as two halves",
    "你好 😀👨‍👩‍👧",
    "<|endoftext|> <end_of_text> {} %s",
    "word " * 2000,
]
TEXTS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.text(st.sampled_from("aA'é&;#x41lt_ \t\n\r\x1b[0m.Ã©â€™"), max_size=40),
)


@settings(max_examples=500, deadline=None)
@given(text=st.text(st.characters(max_codepoint=255, exclude_categories=()), max_size=80))
def test_what_ftfy_leaves_alone_is_not_given_to_it(text: str) -> None:
    assert mend(text) == html.unescape(html.unescape(ftfy.fix_text(text)))


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_nor_is_printable_ascii(text: str) -> None:
    assert mend(text) == html.unescape(html.unescape(ftfy.fix_text(text)))


@pytest.mark.parametrize(
    ("kind", "theirs"), [("ftfy", "whitespace"), ("ftfy_lower", "lower"), ("ftfy_canonical", "canonicalize")]
)
def test_open_clips_cleaning(open_clip: ModuleType, kind: Clean, theirs: str) -> None:
    function = open_clip.tokenizer.get_clean_fn(theirs)

    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS)
    def equal(text: str) -> None:
        assert clean([text], kind) == [function(text)]

    assert clean(ODD, kind) == [function(text) for text in ODD]
    equal()


def test_transformers_canonical_text(transformers: ModuleType) -> None:
    pytest.importorskip("sentencepiece", reason="without it, transformers hides its SiglipTokenizer: make peers")
    theirs = transformers.models.siglip.tokenization_siglip.SiglipTokenizer
    tokenizer = theirs.__new__(theirs)
    tokenizer.do_lower_case = True

    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS)
    def equal(text: str) -> None:
        assert clean([text], "canonical") == [tokenizer.canonicalize_text(text)]

    assert clean(["snake_case  NAME!"], "canonical") == ["snakecase name"]
    equal()


def test_nothing_and_lower_case() -> None:
    assert clean(ODD, "none") is ODD
    assert clean(ODD, "lower") == [text.lower() for text in ODD]
