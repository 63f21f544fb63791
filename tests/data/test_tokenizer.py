"""Texts to ids: trained on the data, safe for any text, and never apart from its contract."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sightword.data.slots import encode_slotted
from sightword.data.tokenizer import END, START, Prefixes, TextSpec, Tokenizer, read_engine, train_tokenizer
from sightword.errors import CheckpointError, RequestError

TEXTS = ["a red circle", "a green square", "a blue triangle", "the red square", "grinning face"]


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer([text]).ids[0].tolist()


def decode(tokenizer: Tokenizer, text: str) -> str:
    return tokenizer.engine.decode(ids(tokenizer, text)).removeprefix(" ")


@pytest.fixture(scope="module")
def roomy() -> Tokenizer:
    return train_tokenizer(TEXTS, vocabulary=300, context=500)


@settings(max_examples=50, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_text_is_between_start_and_end_and_can_be_read_back(roomy: Tokenizer, text: str) -> None:
    row = ids(roomy, text)
    assert row[0] == roomy.spec.start_id
    assert row[-1] == roomy.spec.end_id
    assert not {roomy.spec.start_id, roomy.spec.end_id} & set(row[1:-1])
    normalised = roomy.engine.normalizer.normalize_str(text)
    # A space before the first word is added where there is none, so one there cannot be told from it.
    assert decode(roomy, text).removeprefix(" ") == normalised.removeprefix(" ")


def test_training_texts_are_read_back_and_take_few_tokens(tokenizer: Tokenizer) -> None:
    for text in TEXTS[:3]:
        assert decode(tokenizer, text) == text
        assert len(ids(tokenizer, text)) < 0.75 * len(text)  # merges are used, not single bytes


def test_case_and_unicode_form_make_no_difference(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "A Red CIRCLE") == ids(tokenizer, "a red circle")
    assert ids(tokenizer, "café") == ids(tokenizer, "cafe\u0301")


def test_a_word_has_the_same_tokens_wherever_it_stands(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "circle red")[1:-1] == ids(tokenizer, "circle")[1:-1] + ids(tokenizer, "red")[1:-1]


@pytest.mark.parametrize("special", [START, END])
def test_special_strings_in_a_text_are_ordinary_text(roomy: Tokenizer, special: str) -> None:
    # Otherwise a caption that holds "<|endoftext|>" would be pooled there.
    row = ids(roomy, f"a {special} b")[1:-1]
    assert roomy.spec.start_id not in row
    assert roomy.spec.end_id not in row
    assert decode(roomy, f"a {special} b") == f"a {special} b"


def test_empty_text_is_start_and_end(tokenizer: Tokenizer) -> None:
    assert ids(tokenizer, "") == [tokenizer.spec.start_id, tokenizer.spec.end_id]


def test_a_batch_is_padded_to_its_longest(tokenizer: Tokenizer) -> None:
    texts = ["a red circle", "", "a yellow star"]
    batch = tokenizer(texts)
    assert batch.ids.dtype == batch.lengths.dtype == torch.int64
    assert batch.ids.shape == (3, int(batch.lengths.max()))
    for text, row, length in zip(texts, batch.ids.tolist(), batch.lengths.tolist(), strict=True):
        assert row[:length] == ids(tokenizer, text)
        assert row[length:] == [tokenizer.spec.pad_id] * (len(row) - length)
    nothing = tokenizer([])
    assert nothing.ids.shape == (0, 0)
    assert nothing.lengths.shape == (0,)


def test_a_text_too_long_is_named_or_cut_before_its_end_token(tokenizer: Tokenizer) -> None:
    long, context = "xqzj " * 30, tokenizer.spec.context
    with pytest.raises(RequestError, match=rf"'xqzj .*…' has \d+ tokens; the model reads at most {context - 2}"):
        tokenizer(["a red circle", long])
    cut = tokenizer([long], truncate=True)
    assert cut.lengths.tolist() == [context]
    assert cut.ids[0, -1] == tokenizer.spec.end_id
    roomier = Tokenizer(tokenizer.engine, tokenizer.spec.model_copy(update={"context": 500}))
    assert cut.ids[0, :-1].tolist() == ids(roomier, long)[: context - 1]


def test_a_text_that_just_fits_is_whole(roomy: Tokenizer) -> None:
    length = len(ids(roomy, "grinning zebra"))
    exact = Tokenizer(roomy.engine, roomy.spec.model_copy(update={"context": length}))
    assert ids(exact, "grinning zebra") == ids(roomy, "grinning zebra")
    short = Tokenizer(roomy.engine, roomy.spec.model_copy(update={"context": length - 1}))
    with pytest.raises(RequestError, match="shorten it"):
        short(["grinning zebra"])


def test_training_depends_on_the_set_of_texts_alone() -> None:
    one = train_tokenizer(TEXTS, 300, 16)
    other = train_tokenizer((text for text in [*reversed(TEXTS), TEXTS[0]]), 300, 16)
    assert one.engine.to_str() == other.engine.to_str()
    assert one.spec == other.spec


def test_the_vocabulary_is_as_asked_or_as_large_as_the_texts_allow() -> None:
    assert train_tokenizer(TEXTS, 270, 16).vocabulary == 270
    small = train_tokenizer(["ab"], 5000, 16).vocabulary
    assert 258 < small < 270
    with pytest.raises(RequestError, match="at least 258"):
        train_tokenizer(TEXTS, 257, 16)


def test_the_end_token_has_the_largest_id_and_pads(tokenizer: Tokenizer) -> None:
    # As in CLIP: other libraries find the end of a text by its largest id.
    spec = tokenizer.spec
    assert (spec.start_id, spec.end_id) == (tokenizer.vocabulary - 2, tokenizer.vocabulary - 1)
    assert spec.pad_id == spec.end_id
    assert max(tokenizer.engine.get_vocab().values()) == spec.end_id


def test_saved_and_read_it_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "tokenizer.json")
    again = Tokenizer.read(tmp_path / "tokenizer.json", tokenizer.spec)
    for text in [*TEXTS, "Ünseen <|endoftext|> words 🙂", ""]:
        row = tokenizer([text], truncate=True).ids
        assert torch.equal(row, again([text], truncate=True).ids)


@pytest.mark.parametrize("which", ["start", "end"])
@pytest.mark.parametrize("change", [{"id": 7}, {"token": "<s>"}], ids=["another id", "another token"])
def test_special_ids_must_agree_with_the_contract(
    tokenizer: Tokenizer, tmp_path: Path, which: str, change: dict[str, object]
) -> None:
    wrong = tokenizer.spec.model_copy(update={f"{which}_{key}": value for key, value in change.items()})
    with pytest.raises(CheckpointError, match=f"{which} token .*do not belong together"):
        Tokenizer(tokenizer.engine, wrong)
    tokenizer.save(tmp_path / "tokenizer.json")
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: the contract says"):
        Tokenizer.read(tmp_path / "tokenizer.json", wrong)


@pytest.mark.parametrize("content", [None, "", "{", '{"version": "1.0"}', "[]"])
def test_a_damaged_tokenizer_file_is_named(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokenizer.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json: not a readable"):
        read_engine(file)


# As SigLIP takes its texts.


def siglip(tokenizer: Tokenizer, **more: object) -> Tokenizer:
    told = {"start_token": None, "start_id": None, "pad_to_context": True, "pad_id": 3, "clean": "canonical"} | more
    return Tokenizer(tokenizer.engine, TextSpec.model_validate(tokenizer.spec.model_dump() | told))


def test_without_a_start_and_padded_to_the_context(tokenizer: Tokenizer) -> None:
    end, context = tokenizer.spec.end_id, tokenizer.spec.context
    tokens = siglip(tokenizer)(["A RED, circle!", ""])
    inside = ids(tokenizer, "a red circle")[1:-1]
    assert tokens.ids[0].tolist() == [*inside, end] + [3] * (context - len(inside) - 1)
    assert tokens.ids[1].tolist() == [end] + [3] * (context - 1)
    assert tokens.lengths.tolist() == [len(inside) + 1, 1]
    assert siglip(tokenizer)([]).ids.shape == (0, context)
    assert siglip(tokenizer, pad_to_context=False)(["a red circle", ""]).ids.shape == (2, len(inside) + 1)
    # There is one more place for the text.
    cut = siglip(tokenizer)(["xqzj " * 30], truncate=True)
    assert cut.lengths.tolist() == [context]
    assert cut.ids[0, -1] == end
    with pytest.raises(RequestError, match=f"reads at most {context - 1}"):
        siglip(tokenizer)(["xqzj " * 30])


def test_a_start_is_a_token_and_an_id_or_neither(tokenizer: Tokenizer) -> None:
    for key in ("start_token", "start_id"):
        with pytest.raises(ValueError, match="both given or both null"):
            TextSpec.model_validate(tokenizer.spec.model_dump() | {key: None})


def test_a_contract_from_before_these_keys_means_what_it_did(roomy: Tokenizer) -> None:
    keys = ("context", "start_token", "end_token", "start_id", "end_id", "pad_id")
    old = {key: value for key, value in roomy.spec.model_dump().items() if key in keys}
    assert TextSpec.model_validate(old) == roomy.spec
    # A text is not changed before it is split: this tokenizer knows "_" and the ’ of a keyboard apart from '.
    assert ids(roomy, "it’s_x &amp;") != ids(roomy, "it's x &")


def test_prefixes_stand_behind_the_start_and_take_a_place(tokenizer: Tokenizer, tmp_path: Path) -> None:
    known = tokenizer.vocabulary
    read = tokenizer.with_prefixes(known + 3)
    assert (read.vocabulary, read.room) == (known + 5, tokenizer.room - 1)
    texts = ["a red circle", "", "a green square on a very dark sky " * 5]
    plain, kinds = tokenizer(texts, truncate=True), read(texts, truncate=True, kinds=["labels", "captions", "labels"])
    assert kinds.ids[:, 1].tolist() == [known + 4, known + 3, known + 4]
    assert kinds.lengths.tolist() == [plain.lengths[0] + 1, 3, tokenizer.spec.context]
    assert kinds.ids[0, 2 : kinds.lengths[0]].tolist() == plain.ids[0, 1 : plain.lengths[0]].tolist()
    assert kinds.ids[2, -1] == tokenizer.spec.end_id
    # What is not said is a caption; no text reaches the rows.
    assert read(texts, truncate=True).ids[:, 1].tolist() == [known + 3] * 3
    assert read.reading("labels")(texts, truncate=True).ids[:, 1].tolist() == [known + 4] * 3
    with pytest.raises(RequestError, match=f"reads at most {read.room}"):
        read([texts[2]])
    ids, lengths, at = encode_slotted(read, [("a", "circle")])
    assert (ids[0, 1], int(at.sum())) == (known + 3, 1)
    assert lengths[0] == read(["a circle"]).lengths[0] + 1
    read.save(tmp_path / "tokenizer.json")
    again = Tokenizer.read(tmp_path / "tokenizer.json", TextSpec(**read.spec.model_dump()))
    assert again(texts, truncate=True).ids.tolist() == read(texts, truncate=True).ids.tolist()


def test_prefixes_that_cannot_be(tokenizer: Tokenizer) -> None:
    spec = tokenizer.spec
    short = Tokenizer(tokenizer.engine, spec.model_copy(update={"context": 3}))
    with pytest.raises(RequestError, match="texts have only 3 tokens"):
        short.with_prefixes(999)
    bare = spec.model_copy(update={"start_id": None, "start_token": None})
    with pytest.raises(RequestError, match="texts have no start"):
        Tokenizer(tokenizer.engine, bare).with_prefixes(999)
    with pytest.raises(ValueError, match="prefixes stand behind a start"):
        TextSpec(**bare.model_dump(), prefixes=Prefixes(captions=998, labels=999))
    with pytest.raises(CheckpointError, match="do not belong together"):
        tokenizer.with_prefixes(7)
    assert "prefixes" not in spec.model_dump()  # so that fingerprints are what they were
