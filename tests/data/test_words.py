"""Word by word or text by text: the same ids, and nothing that grows."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Engine

from sightword.data import words
from sightword.data.tokenizer import TextSpec, Tokenizer
from sightword.data.words import PIECES, PIECES_OF_ANY_CASE, Words, encode_texts, splits_at_spaces
from tests.data.test_cleaning import ODD, TEXTS


def engine(pieces: str = PIECES) -> Engine:
    """A tokenizer of CLIP's kind with few merges."""
    made = Engine(models.BPE(end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=700, end_of_word_suffix="</w>", initial_alphabet=letters, show_progress=False
    )
    made.train_from_iterator([text for text in ODD if text.isprintable()], trainer)
    made.add_special_tokens(["<|startoftext|>", "<|endoftext|>"])
    made.encode_special_tokens = True
    return made


CLIP = engine()


@settings(max_examples=400, deadline=None)
@given(texts=st.lists(st.one_of(TEXTS, st.text("é'\u0301 \t\n\u3000aS\x1c", max_size=12)), max_size=5))
def test_words_and_whole_texts_have_the_same_ids(texts: list[str]) -> None:
    texts = texts * 3  # otherwise most words are new, and nothing is done word by word
    ids, counts = Words(CLIP)(texts)
    expected, expected_counts = encode_texts(CLIP, texts)
    assert ids.tolist() == expected.tolist()
    assert counts.tolist() == expected_counts.tolist()


def test_what_was_met_before_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_KEPT", 5)
    remembering = Words(CLIP)
    for start in range(0, len(ODD), 2):
        texts = (ODD[start:] + ODD[:start]) * 3
        for _ in range(2):
            assert remembering(texts)[0].tolist() == encode_texts(CLIP, texts)[0].tolist()
            assert len(remembering._known) <= 11


def test_long_words_are_not_remembered() -> None:
    remembering = Words(CLIP)
    remembering(["x" * 10_000 + " cat"] * 3)
    assert [*remembering._known] == ["cat"]


def test_texts_of_new_words_are_encoded_whole() -> None:
    remembering = Words(CLIP)
    texts = ["one two three", "four five"]
    assert remembering(texts)[0].tolist() == encode_texts(CLIP, texts)[0].tolist()
    assert not remembering._known


def test_threads_may_share_a_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "_KEPT", 3)
    remembering = Words(CLIP)
    batches = [ODD[start : start + 4] * 3 for start in range(len(ODD))] * 8
    with ThreadPoolExecutor(4) as pool:
        found = [ids.tolist() for ids, _ in pool.map(remembering, batches)]
    assert found == [encode_texts(CLIP, batch)[0].tolist() for batch in batches]


def test_which_tokenizers_split_at_spaces() -> None:
    assert splits_at_spaces(CLIP)
    assert splits_at_spaces(engine(PIECES_OF_ANY_CASE))
    assert splits_at_spaces(engine(rf"<\|startoftext\|>|<\|endoftext\|>|{PIECES}"))
    assert not splits_at_spaces(engine(r" ?\p{L}+|\s+"))  # its pieces hold spaces
    other = engine()
    other.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not splits_at_spaces(other)
    other = engine()
    other.normalizer = normalizers.NFKC()
    assert not splits_at_spaces(other)
    other = engine()
    other.add_tokens([AddedToken("one more")])  # looked for across a space
    assert not splits_at_spaces(other)


def test_a_tokenizer_of_either_kind_gives_the_same_rows() -> None:
    start, end = CLIP.token_to_id("<|startoftext|>"), CLIP.token_to_id("<|endoftext|>")
    spec = TextSpec(
        context=60, start_token="<|startoftext|>", end_token="<|endoftext|>", start_id=start, end_id=end, pad_id=end
    )
    fast = Tokenizer(CLIP, spec)
    slow_engine = Engine.from_str(CLIP.to_str())
    slow_engine.add_tokens([AddedToken("no such text")])
    slow = Tokenizer(slow_engine, spec)
    one, other = fast(ODD, truncate=True), slow(ODD, truncate=True)
    assert one.ids.tolist() == other.ids.tolist()
    assert one.lengths.tolist() == other.lengths.tolist()
    copy = pickle.loads(pickle.dumps(fast))
    assert copy(ODD, truncate=True).ids.tolist() == one.ids.tolist()
    assert np.array_equal(fast([]).ids, slow([]).ids)
