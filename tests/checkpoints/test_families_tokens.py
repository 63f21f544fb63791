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
from sightword.checkpoints.tokens import make_tokenizer, read_tokenizer
from sightword.checkpoints.transformers_clip import save_transformers_clip
from sightword.checkpoints.vocabulary import is_openai
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from tests.checkpoints.conftest import SIZE
from tests.checkpoints.test_families import VIT, differences, here, in_open_clip, pictures

Make = Callable[..., tuple[Path, Any]]


def test_open_clip_takes_its_own_tokenizer_for_openais_vocabulary(
    vocabularies: Path, make_open_clip: Make, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    assert not is_openai(tokenizer.engine)
    model, contract, small = load_folder(make_open_clip(VIT)[0])
    save_open_clip(tmp_path / "small", model, contract, small)
    engine, special = read_tokenizer(vocabularies / "new")
    large = make_tokenizer(engine, special, 16, 0)
    save_open_clip(tmp_path / "large", model, contract.model_copy(update={"text": large.spec}), large)
    told = {
        name: json.loads((tmp_path / name / "open_clip_config.json").read_text())["model_cfg"]["text_cfg"]
        for name in ("small", "large")
    }
    assert told["small"]["hf_tokenizer_name"] == "."
    assert told["small"]["tokenizer_kwargs"] == {"clean": "lower"}
    assert not {"hf_tokenizer_name", "tokenizer_kwargs"} & told["large"].keys()
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
