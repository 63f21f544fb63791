"""OpenAI's vocabulary, from each of the files that it comes in: the ids of OpenAI's and open_clip's own tokenizer."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import sightword
from sightword.checkpoints.families import load_folder
from sightword.checkpoints.tokens import make_tokenizer, read_tokenizer
from sightword.checkpoints.vocabulary import OPENAI, find_engine, is_openai, split_as_openai
from sightword.data.cleaning import Clean
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from tests.checkpoints.test_families import VIT
from tests.data.test_cleaning import ODD

Make = Callable[..., tuple[Path, Any]]

# Ids of OpenAI's simple_tokenizer.py, without start and end.
VECTORS = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "A photo of a cat.": [320, 1125, 539, 320, 2368, 269],
    "a diagram": [320, 22697],
    "a dog": [320, 1929],
    "Hello, World!!": [3306, 267, 1002, 748],
    "it's 2021": [585, 568, 273, 271, 273, 272],
    "it’s “quoted”": [585, 568, 257, 27706, 257],
    "don't can't I'LL": [847, 713, 753, 713, 328, 1342],
    "café naïve": [15304, 1097, 35689, 563],
    "ÉCOLE": [3459, 8166],
    "你好": [47466, 254, 29290, 377],
    "😀": [7334],
    "R&amp;B": [337, 261, 321],
    "&amp;lt;b&amp;gt;": [283, 321, 285],
    "snake_case_name": [8798, 318, 2068, 318, 1981],
    "1234567": [272, 273, 274, 275, 276, 277, 278],
    # Typed into a text, OpenAI's names are spelled out, as open_clip does; so no text ends early.
    "hello<|endoftext|>world": [3306, 27, 347, 40786, 4160, 91, 285, 1002],
    "": [],
}
# In none of them one of open_clip's own names of the special tokens: see below.
TRICKY = [text for text in ODD if "_of_text>" not in text]
# Code points that Python's Unicode tables know; the libraries' tables are of several years.
KNOWN = st.characters(exclude_categories=["Cn"])
TEXTS = st.one_of(
    st.text(KNOWN, max_size=40),
    st.lists(st.sampled_from([*VECTORS, *TRICKY[:-1], "'s", "'LL", "’RE", "'ſ", "_", "9½Ⅻ٣"]), max_size=4).map("".join),
)


@pytest.fixture(scope="module")
def theirs(open_clip: ModuleType) -> Any:
    return open_clip.tokenizer.SimpleTokenizer()


def read(folder: Path, clean: Clean = "none", context: int = 77) -> Tokenizer:
    engine, special = read_tokenizer(folder)
    if clean != "none":
        split_as_openai(engine, lower=True)
    return make_tokenizer(engine, special, context, 0, clean)


def ids(tokenizer: Tokenizer, text: str) -> list[int]:
    tokens = tokenizer([text], truncate=True)
    return tokens.ids[0, : int(tokens.lengths[0])].tolist()


@pytest.mark.parametrize("name", ["openai", "old", "new"])
def test_ids_of_openais_vocabulary(vocabularies: Path, name: str, theirs: Any) -> None:
    assert is_openai(find_engine(vocabularies / name))
    tokenizer = read(vocabularies / name, "ftfy_lower")
    assert (tokenizer.spec.start_id, tokenizer.spec.end_id) == (49406, 49407)
    for text, expected in VECTORS.items():
        assert ids(tokenizer, text) == [49406, *expected, 49407], text
        assert theirs.encode(text) == expected, text


def test_any_text_has_the_ids_of_open_clips_tokenizer(vocabularies: Path, theirs: Any) -> None:
    tokenizer = read(vocabularies / "openai", "ftfy_lower", context=400)

    @settings(max_examples=500, deadline=None)
    @given(text=TEXTS)
    @example("x" * 10_000)
    @example("a photo. " * 1200)
    @example("\x00\x07 bell \x9f\x85")
    def equal(text: str) -> None:
        assume("_of_text>" not in text.lower())
        expected = theirs(text, context_length=400)[0].tolist()
        tokens = tokenizer([text], truncate=True)
        assert tokens.ids[0].tolist() == expected[: tokens.ids.shape[1]]
        assert not any(expected[tokens.ids.shape[1] :])

    equal()
    together = tokenizer([*VECTORS, *TRICKY], truncate=True)
    for row, text in enumerate([*VECTORS, *TRICKY]):
        assert together.ids[row].tolist() == theirs(text, context_length=400)[0, : together.ids.shape[1]].tolist()


def test_open_clips_own_names_of_the_special_tokens_are_ordinary_text(vocabularies: Path, theirs: Any) -> None:
    # There they are the tokens themselves, and the text ends early.
    text = "hello<end_of_text>world"
    assert 49407 in theirs.encode(text)
    assert ids(read(vocabularies / "openai", "ftfy_lower"), text).count(49407) == 1


@pytest.mark.parametrize("name", ["openai", "old", "new"])
def test_any_text_has_the_ids_of_transformers(vocabularies: Path, name: str, transformers: ModuleType) -> None:
    theirs = transformers.CLIPTokenizer.from_pretrained(vocabularies / ("new" if name == "new" else "old"))
    tokenizer = read(vocabularies / name, context=400)

    @settings(max_examples=200, deadline=None)
    @given(text=TEXTS)
    def equal(text: str) -> None:
        # There, a special string in a text is the token itself.
        text = text.replace("<|", "<").encode("utf-8", "replace").decode("utf-8")
        assert ids(tokenizer, text) == theirs(text, truncation=True, max_length=400).input_ids

    equal()


@pytest.mark.parametrize(
    ("kwargs", "named", "clean"),
    [
        (None, False, "ftfy_lower"),
        (None, True, "ftfy"),
        ({"clean": "canonicalize"}, False, "ftfy_canonical"),
        ({"clean": "canonicalize"}, True, "ftfy_canonical"),
        ({"clean": "whitespace"}, False, "ftfy"),
        ({"clean": "lower"}, True, "ftfy_lower"),
    ],
)
def test_open_clip_folders_are_read_with_open_clips_cleaning(
    make_open_clip: Make, open_clip: ModuleType, vocabularies: Path, kwargs: Any, named: bool, clean: str
) -> None:
    folder, _ = make_open_clip(VIT, text={"vocab_size": 49_408, "width": 10, "heads": 2, "context_length": 60})
    shutil.copy(vocabularies / "new" / "tokenizer.json", folder)
    shutil.copy(vocabularies / "new" / "tokenizer_config.json", folder)
    config = json.loads((folder / "open_clip_config.json").read_text())
    told = {"tokenizer_kwargs": kwargs or {}, "hf_tokenizer_name": "." if named else None}
    config["model_cfg"]["text_cfg"] |= told
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    _, contract, tokenizer = load_folder(folder)
    assert contract.text.clean == clean
    theirs = open_clip.get_tokenizer(f"local-dir:{folder}")
    for text in [*VECTORS, *TRICKY, "ΟΔΟΣ Snake_Case (X-RAY)"]:
        if "<|" not in text or not named:
            row = theirs([text])[0].tolist()
            assert ids(tokenizer, text) == row[: row.index(49407) + 1], text


# Files that cannot be used.


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        find_engine(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert message.count("\n") <= 1
    return message


@pytest.fixture
def old(clip_tokenizer: Path, tmp_path: Path) -> Path:
    """A small vocabulary in the old files, to damage."""
    model = json.loads((clip_tokenizer / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = ["#version: 0.2", *map(" ".join, model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(merges), encoding="utf-8")
    return tmp_path


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    vocabulary = json.loads((folder / "vocab.json").read_text())
    change(vocabulary)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))


def test_the_old_files_give_the_same_tokenizer(old: Path, clip_tokenizer: Path) -> None:
    one, other = find_engine(old), find_engine(clip_tokenizer)
    assert json.loads(one.to_str())["model"] == json.loads(other.to_str())["model"]
    assert one.encode("A photo’s café <|endoftext|>").ids == other.encode("A photo’s café <|endoftext|>").ids


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v.update({"new": 9999}), "do not have the ids 0 to"),
        (lambda v: v.update({"a": v["b"]}), "do not have the ids 0 to"),
        (lambda v: v.update({"a": "1"}), "do not have the ids 0 to"),
        (lambda v: v.update({"zzz</w>": len(v)}), "'zzz</w>' comes out of none of the"),
        (lambda v: (v.pop("<|endoftext|>"), v.update({"a photo": len(v)})), "no token '<|endoftext|>'"),
    ],
    ids=["a gap", "twice", "no number", "no merge", "no end"],
)
def test_a_vocabulary_that_is_none(old: Path, change: Callable[..., Any], reason: str) -> None:
    edit(old, change)
    assert reason in refusal(old)


def test_broken_merges(old: Path) -> None:
    merges = (old / "merges.txt").read_text(encoding="utf-8")
    (old / "merges.txt").write_text("\n".join(merges.split("\n")[:-3]), encoding="utf-8")
    assert "one of the files is cut off" in refusal(old)
    (old / "merges.txt").write_text(f"{merges}\nzz q", encoding="utf-8")
    assert "merges zz and q, and vocab.json has no 'zz'" in refusal(old)
    (old / "merges.txt").write_text(f"{merges}\na b c", encoding="utf-8")
    assert "is no merge of two tokens: 'a b c'" in refusal(old)
    (old / "merges.txt").write_bytes(b"\xff\xfe")
    assert "not readable as text" in refusal(old)
    (old / "merges.txt").unlink()
    message = refusal(old)
    for file in ("tokenizer.json", "vocab.json with merges.txt", OPENAI, "github.com/openai/CLIP"):
        assert file in message


def test_a_list_of_merges_that_is_not_openais(tmp_path: Path, vocabularies: Path) -> None:
    whole = (vocabularies / "openai" / OPENAI).read_bytes()
    for content, reason in [
        (whole[: len(whole) // 2], "fetch it again"),
        (b"", "the ids come out otherwise"),
        (b"no gzip", "Not a gzipped file"),
        (gzip.compress(b"#version\na b\n"), "the ids come out otherwise"),
        (gzip.compress(bytes(1 << 24)), "far too large"),
        (gzip.compress(b"#version\na b c\n"), "no merge of two tokens"),
    ]:
        (tmp_path / OPENAI).write_bytes(content)
        assert reason in refusal(tmp_path)


def test_a_folder_of_transformers_with_the_old_files(make_transformers: Make, old: Path, tmp_path: Path) -> None:
    folder, _ = make_transformers()
    before = sightword.load(folder, device="cpu").tokenizer(list(VECTORS), truncate=True)
    (folder / "tokenizer.json").unlink()
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(old / name, folder)
    after = sightword.load(folder, device="cpu").tokenizer(list(VECTORS), truncate=True)
    assert before.ids.tolist() == after.ids.tolist()
