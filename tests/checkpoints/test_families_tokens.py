"""Texts of other libraries' folders: OpenAI's own vocabulary, and where open_clip pools."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sightword.checkpoints.families import load_folder
from sightword.checkpoints.open_clip import save_open_clip
from sightword.checkpoints.tokens import is_openai, make_tokenizer, read_tokenizer
from sightword.checkpoints.transformers_clip import save_transformers_clip
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from tests.checkpoints.conftest import SIZE
from tests.checkpoints.test_families import VIT, differences, here, in_open_clip, pictures

Make = Callable[..., tuple[Path, Any]]

# Ids of OpenAI's simple_tokenizer.py, without start and end.
KNOWN = {
    "a photo of a cat": [320, 1125, 539, 320, 2368],
    "A photo of a cat.": [320, 1125, 539, 320, 2368, 269],
    "Hello, World!!": [3306, 267, 1002, 748],
    "it's 2021": [585, 568, 273, 271, 273, 272],
    "don't can't I'LL": [847, 713, 753, 713, 328, 1342],
    "café naïve": [15304, 1097, 35689, 563],
    "ÉCOLE": [3459, 8166],
    "你好": [47466, 254, 29290, 377],
    "😀": [7334],
    "snake_case_name": [8798, 318, 2068, 318, 1981],
    "1234567": [272, 273, 274, 275, 276, 277, 278],
    "": [],
}


@pytest.fixture(scope="module")
def openai(tmp_path_factory: pytest.TempPathFactory, open_clip: ModuleType, transformers: ModuleType) -> Path:
    """A folder with OpenAI's vocabulary, which open_clip carries, as transformers saves it."""
    theirs = open_clip.tokenizer.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(token, token): number for token, number in theirs.encoder.items()}
    folder = tmp_path_factory.mktemp("openai")
    transformers.CLIPTokenizer(vocab=vocabulary, merges=list(theirs.bpe_ranks)).save_pretrained(folder)
    return folder


def test_ids_of_openais_vocabulary(openai: Path, open_clip: ModuleType) -> None:
    engine, special = read_tokenizer(openai)
    assert (special.start_id, special.end_id) == (49406, 49407)
    assert is_openai(engine)
    tokenizer = make_tokenizer(engine, special, 77, special.end_id)
    tokens = tokenizer(list(KNOWN))
    reader = open_clip.tokenizer.SimpleTokenizer()
    for row, (text, ids) in enumerate(KNOWN.items()):
        found = tokens.ids[row, : int(tokens.lengths[row])].tolist()
        assert found == [49406, *ids, 49407], text
        assert reader(text)[0, : len(found)].tolist() == found, text
    # Typed into a text, the end token is spelled out, as open_clip does; so no text ends early.
    typed = tokenizer(["hello<|endoftext|>world"]).ids[0].tolist()
    assert typed == [49406, 3306, 27, 347, 40786, 4160, 91, 285, 1002, 49407]


def test_open_clip_takes_its_own_tokenizer_for_openais_vocabulary(
    openai: Path, make_open_clip: Make, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    assert not is_openai(tokenizer.engine)
    model, contract, small = load_folder(make_open_clip(VIT)[0])
    save_open_clip(tmp_path / "small", model, contract, small)
    engine, special = read_tokenizer(openai)
    large = make_tokenizer(engine, special, 16, 0)
    save_open_clip(tmp_path / "large", model, contract.model_copy(update={"text": large.spec}), large)
    told = {
        name: json.loads((tmp_path / name / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
        for name in ("small", "large")
    }
    assert told["small"]["hf_tokenizer_name"] == "."
    assert "hf_tokenizer_name" not in told["large"]
    # Padding with id 0, which is "!", does not make "!" special.
    assert json.loads((tmp_path / "large" / "tokenizer_config.json").read_text())["pad_token"] == "<|endoftext|>"


def test_pooling_at_the_end_token_itself_and_the_order_of_norm_and_pool(
    make_open_clip: Make, special_ids: tuple[int, int], open_clip: ModuleType, tmp_path: Path
) -> None:
    vision = VIT | {"pos_embed_type": "sin_cos_2d", "final_ln_after_pool": True, "image_size": SIZE}
    text = {"pool_type": "eos", "eos_id": special_ids[1], "final_ln_after_pool": True, "pad_id": 3}
    for custom in (True, False):
        folder, theirs = make_open_clip(vision, text=text, custom=custom)
        model, contract, tokenizer = load_folder(folder)
        assert tokenizer.spec.pad_id == 3
        tokens = tokenizer(["a photo of a cat", "a dog", ""])
        differences(here(model, pictures(), tokens), in_open_clip(theirs, pictures(), tokens))
    # With a token behind the end token, the largest id is another: the file must say so.
    tokenizer.engine.add_tokens(["one more"])
    save_open_clip(tmp_path / "out", model, contract, tokenizer)
    again, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    assert again.text_pool_type == "eos"
    differences(here(model, pictures(), tokens), in_open_clip(again.eval(), pictures(), tokens))


def test_an_end_token_that_transformers_would_take_for_an_old_file(make_transformers: Make, tmp_path: Path) -> None:
    model, contract, tokenizer = load_folder(make_transformers("gelu", "gelu")[0])
    two = tokenizer.engine.id_to_token(2)
    spec = contract.text.model_copy(update={"end_id": 2, "end_token": two})
    other = Tokenizer(tokenizer.engine, spec)
    with pytest.raises(RequestError, match="end token has the id 2"):
        save_transformers_clip(tmp_path / "out", model, contract.model_copy(update={"text": spec}), other)
    assert not (tmp_path / "out").exists()
