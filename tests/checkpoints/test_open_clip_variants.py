"""open_clip's towers beside CLIP's own: CLIPA, CoCa's contrastive half, and the settings that others use.

The reference is open_clip: it builds the model, draws its weights, and reads the texts by its own tokenizer.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import sightword
from sightword.checkpoints.convert import PARITY_LIMIT, convert
from sightword.checkpoints.families import load_folder
from sightword.checkpoints.open_clip import save_open_clip
from sightword.errors import CheckpointError, RequestError
from tests.checkpoints.conftest import CONTEXT, SIZE, pictures
from tests.checkpoints.test_families import LIMIT, VIT, differences, here

Make = Callable[..., tuple[Path, Any]]
# "!" has the id 0 in OpenAI's vocabulary, which is also its padding.
TEXTS = ["a photo of a cat", "A photo of a DOG!", "it's 2021: cafe", "", "wow!} no", "hello world " * 30]
OPENAI_ROWS = {"vocab_size": 49_408}
BERT = {"hf_tokenizer_name": "bert-base-uncased"}
CLIPA = {
    "vision": VIT | {"no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
    "text": BERT | {"tokenizer_kwargs": {"strip_sep_token": True}, "pool_type": "last", "no_causal_mask": True},
}
COCA = {
    "vision": VIT | {"attentional_pool": True, "attn_pooler_queries": 6, "attn_pooler_heads": 4, "output_tokens": True},
    "text": OPENAI_ROWS | {"embed_cls": True, "output_tokens": True},
    "custom": True,
    "captions": {"context_length": CONTEXT, "vocab_size": 49_408, "width": 40, "heads": 5, "layers": 1},
}
CASES: dict[str, dict[str, Any]] = {
    "CLIPA": CLIPA,
    "CLIPA, sin_cos_2d": CLIPA | {"vision": CLIPA["vision"] | {"pos_embed_type": "sin_cos_2d"}},
    "BERT, causal, eos": {"text": BERT | {"pool_type": "eos", "eos_id": 3}},
    "CoCa": COCA,
    # As wide as the joint space: then torch keeps queries, keys and values in one tensor.
    "CoCa, narrow": COCA | {"vision": COCA["vision"] | {"width": 20, "head_width": 5}},
    "queries averaged": {
        "vision": COCA["vision"] | {"pool_type": "avg", "final_ln_after_pool": True, "output_tokens": False},
        "text": OPENAI_ROWS | {"embed_cls": True, "no_causal_mask": True},
        "custom": True,
    },
    "average of normed, layer scale": {
        "vision": VIT | {"pool_type": "avg", "ls_init_value": 0.1, "block_type": "custom"},
        "text": {"ls_init_value": 1e-4},
    },
    "both ways, argmax": {"text": OPENAI_ROWS | {"no_causal_mask": True}, "quick_gelu": True, "custom": True},
    "both ways, eos": {"text": OPENAI_ROWS | {"no_causal_mask": True, "pool_type": "eos", "eos_id": 49_407}},
    "both ways, first": {"text": OPENAI_ROWS | {"no_causal_mask": True, "pool_type": "first", "proj_bias": True}},
    "causal, last": {"text": OPENAI_ROWS | {"pool_type": "last", "proj_type": "none", "width": 20}, "custom": True},
}


@pytest.fixture(scope="module")
def make(make_open_clip: Make, bert_tokenizer: Path, vocabularies: Path) -> Make:
    """The folder of one of the cases, and its model."""

    @cache
    def make(name: str) -> tuple[Path, Any]:
        options = {"vision": VIT, "text": {}} | CASES[name]
        options["text"] = {"mlp_ratio": 3.3, "norm_kwargs": {"eps": 1e-3}} | options["text"]
        tokenizer = {"tokenizer": bert_tokenizer} if "hf_tokenizer_name" in options["text"] else {}
        if "vocab_size" in options["text"]:
            tokenizer = {"tokenizer": vocabularies / "new"}
        folder, model = make_open_clip(**options, **tokenizer)
        strengthen(model)
        weights = {key: value.contiguous() for key, value in model.state_dict().items()}
        save_file(weights, folder / "open_clip_model.safetensors")
        return folder, model

    return make


@torch.no_grad()
def strengthen(model: Any) -> None:
    """Tokens large against positions, and attention that chooses: otherwise a few words would be lost in the padding,
    and all texts be alike, and all pictures to the queries of a pool."""
    for name, parameter in model.named_parameters():
        text = "visual" not in name and ("token_embedding" in name or name.endswith("in_proj_weight"))
        if text or ("attn_pool" in name and parameter.ndim == 2):
            parameter.mul_(3)
        if "attn_pool" in name and name.endswith("bias"):
            parameter.mul_(0.1)


@torch.no_grad()
def there(model: Any, images: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    image, text = model.encode_image(images, normalize=True), model.encode_text(ids, normalize=True)
    return image, text, model.logit_scale.exp() * image @ text.T


@pytest.mark.parametrize("name", CASES)
def test_read_and_written_back(make: Make, open_clip: ModuleType, tmp_path: Path, name: str) -> None:
    folder, theirs = make(name)
    model, contract, tokenizer = load_folder(folder)
    ids = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    tokens, images = tokenizer(TEXTS, truncate=True), pictures()
    if model.text.trims:
        assert name in ("BERT, causal, eos", "average of normed, layer scale")
    else:
        assert torch.equal(tokens.ids, ids)
    if name == "average of normed, layer scale":  # a small vocabulary, of which open_clip's own tokenizer knows nothing
        ids = F.pad(tokens.ids, (0, CONTEXT - tokens.ids.shape[1]))
    expected = there(theirs, images, ids)
    differences(here(model, images, tokens), expected)
    short = sightword.load(folder, device="cpu").embed_texts(TEXTS[:-1], batch_size=2)
    assert np.abs(short - expected[1][:-1].numpy()).max() <= LIMIT
    save_open_clip(tmp_path / "again", model, contract, tokenizer)
    again, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'again'}")
    differences(there(again.eval(), images, ids), expected)
    if name != "average of normed, layer scale":
        assert torch.equal(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'again'}")(TEXTS), ids)
    written, before = load_file(tmp_path / "again" / "open_clip_model.safetensors"), theirs.state_dict()
    # Where nothing asks for the layout of CustomTextCLIP, it is CLIP's.
    kept = {key.removeprefix("text."): value for key, value in before.items() if not key.startswith("text_decoder.")}
    assert {key.removeprefix("text.") for key in written} == kept.keys()
    assert all(torch.equal(kept[key.removeprefix("text.")], tensor) for key, tensor in written.items())
    assert (len(kept) < len(before)) == name.startswith("CoCa")
    read_back = load_folder(tmp_path / "again")[1]
    assert read_back.model_copy(update={"provenance": contract.provenance}) == contract


def test_the_captions_of_a_coca_are_left_out_and_said_so(make: Make, tmp_path: Path) -> None:
    folder, _ = make("CoCa")
    contract = load_folder(folder)[1]
    assert contract.provenance["left_out"] == "text_decoder"
    with pytest.raises(RequestError, match="CLIPModel is CLIP with its own two towers"):
        convert(folder, "transformers", tmp_path / "no")
    made = convert(folder, "native", tmp_path / "native")
    assert (made.image, made.text, made.changed) == (0, 0, ())
    again = convert(tmp_path / "native", "open_clip", tmp_path / "out")
    assert max(again.image, again.text) <= PARITY_LIMIT
    written = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())["model_cfg"]
    assert "multimodal_cfg" not in written
    assert written["custom_text"]


def test_the_mask_of_a_coca_is_one_place_late(make: Make) -> None:
    """As the published weights were trained: what stands behind an id of the padding is not seen."""
    model, _, tokenizer = load_folder(make("CoCa")[0])
    tokens = tokenizer(TEXTS[:1])
    end = int(tokens.lengths[0]) - 1
    before = model.encode_text(tokens)
    for place, seen in [(end + 1, True), (end + 2, False)]:
        positions = model.text.positions.detach().clone()
        with torch.no_grad():
            model.text.positions[place] += 1
            assert torch.equal(model.encode_text(tokens), before) != seen
            model.text.positions.copy_(positions)


def test_padding_that_open_clip_could_not_repeat(make_open_clip: Make, tmp_path: Path) -> None:
    # The padding is "!", an ordinary token, and this vocabulary is not the one that open_clip brings.
    folder, _ = make_open_clip(VIT, text={"no_causal_mask": True})
    with pytest.raises(RequestError, match=r"padded with '!' \(0\), an ordinary token"):
        save_open_clip(tmp_path / "no", *load_folder(folder))


@pytest.fixture
def copied(make: Make, tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(make(name)[0], tmp_path / "model"))


def refusal(folder: Path, section: str, changes: dict[str, Any]) -> str:
    values = json.loads((folder / "open_clip_config.json").read_text())
    values["model_cfg"][section] |= changes
    (folder / "open_clip_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert str(folder) in message
    assert message.count("\n") <= 1
    return message


@pytest.mark.parametrize(
    ("name", "section", "changes", "reason"),
    [
        ("CoCa", "vision_cfg", {"attentional_pool": "parallel"}, "vision_cfg.attentional_pool"),
        ("CoCa", "vision_cfg", {"pool_type": "none"}, "vision_cfg.pool_type"),
        ("CoCa", "vision_cfg", {"attn_pooler_heads": 3}, "20 dimensions does not divide into 3 heads"),
        ("CoCa", "vision_cfg", {"pool_type": "avg", "attn_pooler_queries": 1}, "answers to 1 queries"),
        ("CoCa", "vision_cfg", {"image_size": [SIZE, 64]}, "only squares"),
        ("CoCa", "vision_cfg", {"attn_pooler_queries": 5}, "visual.attn_pool.query"),
        ("CoCa", "text_cfg", {"pad_id": 7}, "padded with id 0, and the text tower passes over the id 7"),
        ("CoCa", "text_cfg", {"qk_norm": True}, "text_cfg.qk_norm"),
        ("CoCa", "text_cfg", {"embed_cls": False}, "text.cls_emb"),
        ("causal, last", "text_cfg", {"pool_type": "none"}, "text_cfg.pool_type"),
        ("causal, last", "text_cfg", {"proj_type": "none", "width": 40, "heads": 5}, "needs a projection"),
        ("causal, last", "text_cfg", {"tokenizer_kwargs": {"strip_sep_token": True}}, "without hf_tokenizer_name"),
        ("both ways, eos", "text_cfg", {"eos_id": 2}, "text_cfg.eos_id is 2"),
        ("CLIPA", "text_cfg", {"pool_type": "argmax"}, "is not the largest of tokenizer.json"),
        ("CLIPA", "text_cfg", {"tokenizer_mode": "clips"}, "text_cfg.tokenizer_mode"),
        ("CLIPA", "text_cfg", {"tokenizer_kwargs": {"language": "en"}}, "tokenizer_kwargs.language"),
    ],
)
def test_settings_that_are_refused(
    copied: Callable[[str], Path], name: str, section: str, changes: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(copied(name), section, changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"padding_side": "left"}, "padding_side 'left'"),
        ({"do_lower_case": False}, "asks for BertNormalizer"),
        ({"sep_token": None}, "names no sep_token"),
        ({"sep_token": "[MASK]"}, "frames an empty text as the ids [2, 3]"),
        ({"eos_token": "[SEP]", "sep_token": "[MASK]"}, "texts end with '[SEP]'"),
        ({"pad_token": None}, "names the pad_token"),
    ],
)
def test_a_bert_tokenizer_that_is_refused(copied: Callable[[str], Path], changes: dict[str, Any], reason: str) -> None:
    folder = copied("CLIPA")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | changes))
    assert reason in refusal(folder, "text_cfg", {})
