"""SigLIP and SigLIP 2 compute here what they compute in transformers and in open_clip, and the other way round.

The reference is the library itself: it builds the model, draws its weights and saves the folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

import sightword
from sightword.checkpoints.convert import PARITY_LIMIT, convert
from sightword.checkpoints.families import find_family, load_folder
from sightword.checkpoints.native import save_checkpoint
from sightword.checkpoints.open_clip import save_open_clip
from sightword.checkpoints.open_clip_timm import TOWERS, timm_name
from sightword.checkpoints.transformers_siglip import save_transformers_siglip
from sightword.data.pairs import Tokens
from sightword.errors import CheckpointError, RequestError
from sightword.towers.dual import DualEncoder
from tests.checkpoints.conftest import BIAS, PLAIN, SIGLIP_CONTEXT, SIGLIP_SIZE, pictures
from tests.checkpoints.test_families import differences

Make = Callable[..., tuple[Path, Any]]
MIXED = ["A Photo of a CAT!", "it's  2021: snake_case, café", "hello world " * 30, ""]
# What open_clip alone mends: mojibake and HTML entities.
BROKEN = ["it's cafÃ© &amp;amp; crÃ¨me", "ﬁne “photo”"]


@torch.no_grad()
def here(model: DualEncoder, images: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    image, text = model.encode_image(images), model.encode_text(tokens)
    assert model.logit_bias is not None
    return image, text, model.scale * image @ text.T + model.logit_bias


@torch.no_grad()
def in_transformers(model: Any, images: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    made = model(pixel_values=images, input_ids=tokens.ids)
    return made.image_embeds, made.text_embeds, made.logits_per_image


@torch.no_grad()
def in_open_clip(model: Any, images: Tensor, tokens: Tokens) -> tuple[Tensor, Tensor, Tensor]:
    image, text = model.encode_image(images, normalize=True), model.encode_text(tokens.ids, normalize=True)
    return image, text, model.get_logits(images, tokens.ids)[0]


# transformers


@pytest.mark.parametrize(("kind", "act"), [("1", "gelu_pytorch_tanh"), ("2", "gelu"), ("1", "quick_gelu")])
def test_transformers_folder_is_read(make_siglip: Make, kind: str, act: str) -> None:
    folder, theirs = make_siglip(kind, act)
    model, contract, tokenizer = load_folder(folder)
    assert find_family(folder) == "transformers"
    tokens = tokenizer(PLAIN)
    differences(here(model, pictures(SIGLIP_SIZE), tokens), in_transformers(theirs, pictures(SIGLIP_SIZE), tokens))
    assert model.scale.item() == pytest.approx(109.9, abs=0.1)  # not capped
    assert contract.text.pad_id == {"1": 1, "2": 0}[kind]
    assert (contract.text.end_id, contract.text.start_id, contract.text.pad_to_context) == (1, None, True)
    assert (contract.image.resize, contract.image.mean, contract.image.std) == ("squash", (0.5,) * 3, (0.5,) * 3)


@pytest.mark.parametrize("kind", ["1", "2"])
def test_transformers_tokens_and_pixels_are_the_same(make_siglip: Make, transformers: ModuleType, kind: str) -> None:
    folder, _ = make_siglip(kind)
    _, contract, tokenizer = load_folder(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    texts = [text.lower() for text in MIXED] + PLAIN
    options = {"padding": "max_length", "max_length": SIGLIP_CONTEXT, "truncation": True, "return_tensors": "pt"}
    expected = theirs(texts, **options).input_ids
    assert torch.equal(tokenizer(texts, truncate=True).ids, expected)
    # Every text is brought to lower case, as the authors did; of transformers' tokenizers only some do so.
    assert torch.equal(tokenizer([*MIXED, *PLAIN], truncate=True).ids, expected)
    processor = transformers.SiglipImageProcessorPil.from_pretrained(folder)
    rng = np.random.default_rng(0)
    for width, height in [(50, 38), (34, 34), (20, 90)]:
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
        pixels = torch.from_numpy(contract.image.prepare(picture).copy()).permute(2, 0, 1)[None]
        wanted = processor(picture, return_tensors="pt").pixel_values
        assert (contract.image.normalise(pixels) - wanted).abs().max() < 1e-5, (width, height)


@pytest.mark.parametrize("kind", ["1", "2"])
def test_the_padding_is_seen(make_siglip: Make, transformers: ModuleType, kind: str) -> None:
    """The trap: with a mask, or cut to its length, a text comes out as something else, without an error."""
    folder, theirs = make_siglip(kind)
    reader = transformers.AutoTokenizer.from_pretrained(folder)
    model = sightword.load(folder, device="cpu")
    vectors = torch.from_numpy(model.embed_texts(PLAIN))
    with torch.no_grad():
        whole = reader(PLAIN, padding="max_length", max_length=SIGLIP_CONTEXT, return_tensors="pt")
        right = theirs.get_text_features(whole.input_ids).pooler_output
        masked = theirs.get_text_features(whole.input_ids, attention_mask=whole.attention_mask).pooler_output
        cut = theirs.get_text_features(reader(PLAIN, padding=True, return_tensors="pt").input_ids).pooler_output
    assert (vectors - torch.nn.functional.normalize(right)).abs().max() <= 1e-4
    for wrong in (masked, cut):
        assert (vectors - torch.nn.functional.normalize(wrong)).abs().max() > 1e-2
    for batch_size in (1, 4):
        assert np.abs(model.embed_texts(PLAIN, batch_size=batch_size) - vectors.numpy()).max() < 1e-5


def test_the_class_of_siglips_tokenizer_cleans_texts(make_siglip: Make) -> None:
    folder, _ = make_siglip("1")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "SiglipTokenizer"}))
    _, contract, tokenizer = load_folder(folder)
    assert contract.text.clean == "canonical"
    # As its canonicalize_text does: "_" is punctuation, and deleted.
    clean = ["a photo of a cat", "its 2021 snakecase café", ("hello world " * 30).strip(), ""]
    plain = tokenizer.engine.encode_batch(clean, add_special_tokens=False)
    for row, expected in zip(tokenizer(MIXED, truncate=True).ids.tolist(), plain, strict=True):
        ids = expected.ids[: SIGLIP_CONTEXT - 1]
        assert row == [*ids, *[1] * (SIGLIP_CONTEXT - len(ids))]


@pytest.mark.parametrize(("kind", "clean"), [("1", "lower"), ("2", "lower"), ("1", "canonical")])
def test_transformers_there_and_back_is_the_same_to_the_bit(
    make_siglip: Make, transformers: ModuleType, tmp_path: Path, kind: str, clean: str
) -> None:
    folder, theirs = make_siglip(kind)
    if clean == "canonical":
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "SiglipTokenizer"}))
    loaded = load_folder(folder)
    assert loaded[1].text.clean == clean
    save_transformers_siglip(tmp_path / "again", *loaded)
    again, report = transformers.SiglipModel.from_pretrained(tmp_path / "again", output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    before, after = theirs.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    model, contract, tokenizer = load_folder(tmp_path / "again")
    assert contract == loaded[1]
    # What is done to a text before is in the written tokenizer.json: transformers does it too.
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "again")
    options = {"padding": "max_length", "max_length": SIGLIP_CONTEXT, "truncation": True, "return_tensors": "pt"}
    texts = [*MIXED, *PLAIN]
    assert torch.equal(reader(texts, **options).input_ids, loaded[2](texts, truncate=True).ids)
    assert torch.equal(tokenizer(texts, truncate=True).ids, loaded[2](texts, truncate=True).ids)
    tokens, images = tokenizer(PLAIN), pictures(SIGLIP_SIZE)
    differences(here(model, images, tokens), in_transformers(again.eval(), images, tokens))
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "again", backend="pil")
    assert type(processor).__name__ == "SiglipImageProcessorPil"


def test_both_forms_of_scale_and_bias_are_read(make_siglip: Make) -> None:
    folder, theirs = make_siglip()
    weights = load_file(folder / "model.safetensors")
    for name in ("logit_scale", "logit_bias"):
        assert weights[name].shape == (1,)
        weights[name] = weights[name].reshape(())
    save_file(weights, folder / "model.safetensors")
    model = load_folder(folder)[0]
    assert model.logit_bias is not None
    assert (model.log_scale.item(), model.logit_bias.item()) == (theirs.logit_scale.item(), theirs.logit_bias.item())


# open_clip


@pytest.mark.parametrize(
    ("kind", "clean", "text"),
    [
        ("1", "canonicalize", {}),
        ("2", "canonicalize", {"act_kwargs": {"approximate": "tanh"}, "width": 40, "heads": 4}),
        ("1", "lower", {"proj_bias": False, "proj_type": "none"}),
        ("1", None, {}),
    ],
    ids=["1", "2", "no projection", "no cleaning"],
)
def test_open_clip_folder_is_read_and_written_back(
    make_open_clip_siglip: Make, open_clip: ModuleType, kind: str, clean: str | None, text: Any, tmp_path: Path
) -> None:
    folder, theirs = make_open_clip_siglip(kind, clean, **text)
    model, contract, tokenizer = load_folder(folder)
    images, texts = pictures(SIGLIP_SIZE), [*MIXED, *BROKEN, *PLAIN]
    tokens = tokenizer(texts, truncate=True)
    assert torch.equal(tokens.ids, open_clip.get_tokenizer(f"local-dir:{folder}")(texts))
    tokens = tokenizer(PLAIN)
    expected = in_open_clip(theirs, images, tokens)
    differences(here(model, images, tokens), expected)
    save_open_clip(tmp_path / "again", model, contract, tokenizer)
    again, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'again'}")
    differences(in_open_clip(again.eval(), images, tokens), expected)
    assert (again.logit_scale.item(), again.logit_bias.item()) == pytest.approx((4.7, BIAS))
    assert load_folder(tmp_path / "again")[1] == contract
    written = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'again'}")(texts)
    assert torch.equal(written, tokenizer(texts, truncate=True).ids)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (45, 61, 3), np.uint8))
    pixels = torch.from_numpy(contract.image.prepare(picture).copy()).permute(2, 0, 1)[None]
    assert (contract.image.normalise(pixels)[0] - preprocess(picture)).abs().max() < 1e-5


def test_the_towers_of_the_names_are_timms(open_clip: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = open_clip.timm_model.timm
    source = timm.models.vision_transformer
    assert sorted(TOWERS) == sorted(name for name in timm.list_models("vit_*_siglip_*") if "_gap_" not in name)
    # What each name stands for, without building it.
    monkeypatch.setattr(source, "_create_vision_transformer", lambda name, pretrained=False, **options: options)
    for name, tower in TOWERS.items():
        assert getattr(source, name)() == {
            "patch_size": tower.patch, "embed_dim": tower.width, "depth": tower.layers, "num_heads": tower.heads,
            "class_token": False, "global_pool": "map",
            **({} if tower.mlp_ratio == 4 else {"mlp_ratio": tower.mlp_ratio}),
            **({"act_layer": "gelu_tanh"} if tower.activation == "gelu_tanh" else {}),
        }  # fmt: skip
        assert timm.get_pretrained_cfg(name).input_size == (3, tower.image_size, tower.image_size)
        assert timm_name(tower) == name


# From one to the other


def test_open_clip_to_transformers_and_back(
    make_open_clip_siglip: Make, transformers: ModuleType, tmp_path: Path
) -> None:
    folder, theirs = make_open_clip_siglip("1", proj_bias=False, proj_type="none")
    made = convert(folder, "transformers", tmp_path / "out")
    assert max(made.image, made.text) <= PARITY_LIMIT
    # Mending texts is what no tokenizer.json can do.
    assert made.changed == ("image.offset: round becomes floor", "text.clean: ftfy_canonical becomes lower")
    other = transformers.SiglipModel.from_pretrained(tmp_path / "out").eval()
    tokens = load_folder(folder)[2](PLAIN)
    images = pictures(SIGLIP_SIZE)
    differences(in_open_clip(theirs, images, tokens), in_transformers(other, images, tokens))
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    wanted = load_folder(folder)[2](MIXED, truncate=True).ids
    options = {"padding": "max_length", "max_length": SIGLIP_CONTEXT, "truncation": True, "return_tensors": "pt"}
    assert torch.equal(reader(MIXED, **options).input_ids, wanted)
    back = convert(tmp_path / "out", "open_clip", tmp_path / "back")
    assert max(back.image, back.text) <= PARITY_LIMIT
    assert "text.clean: lower becomes ftfy_lower" in back.changed


def test_native_there_and_back(make_siglip: Make, tmp_path: Path) -> None:
    folder, _ = make_siglip("2")
    assert convert(folder, "native", tmp_path / "native").changed == ()
    assert convert(tmp_path / "native", "transformers", tmp_path / "out").changed == ()
    one, other = load_folder(folder)[0].state_dict(), load_folder(tmp_path / "out")[0].state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_what_cannot_be_written_is_refused(make_siglip: Make, make_open_clip_siglip: Make, tmp_path: Path) -> None:
    # timm has this tower with the other GELU, and no tower of another size.
    folder, _ = make_siglip("1", "gelu_pytorch_tanh")
    with pytest.raises(RequestError, match="timm computes vit_base_patch16_siglip_224 with gelu"):
        convert(folder, "open_clip", tmp_path / "no")
    model, contract, tokenizer = load_folder(folder)
    image = contract.architecture.image.model_copy(update={"layers": 3})
    told = contract.model_copy(update={"architecture": contract.architecture.model_copy(update={"image": image})})
    with pytest.raises(RequestError, match="none of timm's has these sizes"):
        save_open_clip(tmp_path / "no", DualEncoder(told.architecture), told, tokenizer)
    cropped = contract.model_copy(update={"image": contract.image.model_copy(update={"resize": "shortest"})})
    with pytest.raises(RequestError, match="cropped to a square, and SiglipImageProcessor cannot do that"):
        save_transformers_siglip(tmp_path / "no", model, cropped, tokenizer)
    # A SigLIP without its bias is neither of the two.
    half = contract.model_copy(update={"architecture": contract.architecture.model_copy(update={"bias": False})})
    with pytest.raises(RequestError, match="this model is built otherwise"):
        save_transformers_siglip(tmp_path / "no", DualEncoder(half.architecture), half, tokenizer)
    save_checkpoint(tmp_path / "half", DualEncoder(half.architecture), half, tokenizer)
    with pytest.raises(RequestError, match="CLIPModel is CLIP with its own two towers"):
        convert(tmp_path / "half", "transformers", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_open_clip_holds_siglips_towers_without_the_bias(
    make_open_clip_siglip: Make, open_clip: ModuleType, tmp_path: Path
) -> None:
    model, contract, tokenizer = load_folder(make_open_clip_siglip()[0])
    half = contract.model_copy(update={"architecture": contract.architecture.model_copy(update={"bias": False})})
    model.logit_bias = None
    save_open_clip(tmp_path / "out", model, half, tokenizer)
    assert load_folder(tmp_path / "out")[1] == half
    again, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'out'}")
    assert again.logit_bias is None
    tokens = tokenizer(PLAIN)
    with torch.no_grad():
        text = again.encode_text(tokens.ids, normalize=True)
        assert (model.encode_text(tokens) - text).abs().max() <= PARITY_LIMIT


# Refusals


def edit(file: Path, **values: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def refusal(folder: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        sightword.load(folder, device="cpu")
    message = str(caught.value)
    assert str(folder) in message
    assert message.count("\n") <= 1
    return message


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.safetensors", "lacks the weights"),
        ("preprocessor_config.json", "preprocessor_config.json"),
        ("tokenizer.json", "T5Tokenizer.from_pretrained(FOLDER, extra_ids=0)"),
        ("tokenizer_config.json", "names the eos_token"),
    ],
)
def test_a_missing_file(make_siglip: Make, name: str, reason: str) -> None:
    folder, _ = make_siglip()
    (folder / name).unlink()
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"eos_token": "<unk>"}, "frames an empty text as the ids [1]"),
        ({"eos_token": "</end>"}, "has no token '</end>', which tokenizer_config.json names as the eos_token"),
        ({"pad_token": "<nothing>"}, "has no token '<nothing>'"),
        ({"pad_token": None}, "names the pad_token"),
    ],
)
def test_special_tokens_that_differ(make_siglip: Make, changes: dict[str, Any], reason: str) -> None:
    folder, _ = make_siglip()
    edit(folder / "tokenizer_config.json", **changes)
    assert reason in refusal(folder)


def test_a_tokenizer_that_begins_a_text(make_siglip: Make) -> None:
    folder, _ = make_siglip("2")
    values = json.loads((folder / "tokenizer.json").read_text())
    start = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    values["post_processor"]["single"].insert(0, start)
    values["post_processor"]["special_tokens"]["<bos>"] = {"id": "<bos>", "ids": [2], "tokens": ["<bos>"]}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    assert "frames an empty text as the ids [2, 1]" in refusal(folder)
    # As in Gemma's repositories: the settings have the last word over the file.
    edit(folder / "tokenizer_config.json", add_bos_token=False, add_eos_token=True)
    assert load_folder(folder)[2](["a"]).ids[0, :3].tolist()[1:] == [1, 0]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_type": "siglip2"}, "NaFlex"),
        ({"model_type": "siglip3"}, "'clip' or 'siglip'"),
        ({"vision_config": {"vision_use_head": False}}, "vision_use_head"),
        ({"vision_config": {"hidden_act": "relu"}}, "hidden_act"),
        ({"text_config": {"projection_size": 35}}, "projected to 35 dimensions"),
        ({"text_config": {"vocab_size": 20}}, "the text tower only 20"),
        ({"text_config": {"max_position_embeddings": 32}}, "asks for [32, 40]"),
    ],
)
def test_settings_that_are_not_known(make_siglip: Make, changes: dict[str, Any], reason: str) -> None:
    folder, _ = make_siglip()
    values = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        values[key] = values[key] | value if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(values))
    assert reason in refusal(folder)


@pytest.mark.parametrize(
    ("section", "changes", "reason"),
    [
        ("vision_cfg", {"image_size": 224}, "with image_size 224"),
        ("vision_cfg", {"timm_pool": "avg"}, "timm_pool 'avg'"),
        ("vision_cfg", {"timm_proj": "linear"}, "timm_proj 'linear'"),
        ("vision_cfg", {"timm_model_name": "vit_base_patch16_siglip_gap_224"}, "(vit_base_patch16_siglip_gap_224)"),
        ("text_cfg", {"hf_tokenizer_name": None}, "has no token '<|startoftext|>'"),
        ("text_cfg", {"pool_type": "eos"}, "text_cfg.eos_id is 2"),
        ("text_cfg", {"tokenizer_kwargs": {"clean": "upper"}}, "tokenizer_kwargs"),
        ("text_cfg", {"tokenizer_kwargs": {"strip_sep_token": True}}, "strip_sep_token"),
    ],
)
def test_open_clip_settings_that_are_not_known(
    make_open_clip_siglip: Make, section: str, changes: dict[str, Any], reason: str
) -> None:
    folder, _ = make_open_clip_siglip()
    values = json.loads((folder / "open_clip_config.json").read_text())
    values["model_cfg"][section] |= changes
    (folder / "open_clip_config.json").write_text(json.dumps(values))
    assert reason in refusal(folder)


@pytest.mark.parametrize("changes", [{"pad_to_context": False}, {"context": 40}])
def test_a_contract_that_would_cut_the_padding(make_siglip: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    convert(make_siglip()[0], "native", tmp_path / "native")
    contract = json.loads((tmp_path / "native" / "contract.json").read_text())
    contract["text"] |= changes
    (tmp_path / "native" / "contract.json").write_text(json.dumps(contract))
    assert "the text tower sees the padding" in refusal(tmp_path / "native")
