"""The tokenizer of an open_clip folder, and what open_clip does to texts around it (tokenizer.py of open_clip 3.3).

Where text_cfg names no tokenizer of the Hub (hf_tokenizer_name), texts are split as OpenAI's simple_tokenizer.py does
and padded with the id 0. Otherwise transformers reads the tokenizer of the folder, which frames a text by a start and
an end, or by an end alone, and names what pads. BERT's end, [SEP], may become the id 0 (strip_sep_token), as CLIPA
(arXiv 2305.07017) was trained.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import normalizers

from sightword.checkpoints.open_clip_settings import Text, TokenizerKwargs
from sightword.checkpoints.tokens import (
    SETTINGS,
    Special,
    is_largest,
    make_tokenizer,
    read_names,
    read_tokenizer,
    write_tokenizer,
)
from sightword.checkpoints.tokens_siglip import has_no_start, read_siglip_tokenizer, write_siglip_tokenizer
from sightword.checkpoints.vocabulary import TOKENIZER, is_openai, split_as_openai
from sightword.checkpoints.weights import read_json
from sightword.data.cleaning import Clean
from sightword.data.tokenizer import Tokenizer, read_engine
from sightword.errors import CheckpointError, RequestError

_CLEANING: dict[str, Clean] = {"lower": "ftfy_lower", "whitespace": "ftfy", "canonicalize": "ftfy_canonical"}
# What open_clip can do of each of ours: mending cannot be turned off there.
_NEAREST: dict[Clean, str] = {ours: theirs for theirs, ours in _CLEANING.items()} | {
    "lower": "lower",
    "canonical": "canonicalize",
}


def read_open_clip_tokenizer(folder: Path, config: str, text: Text, trims: bool) -> Tokenizer:
    """config: the file that `text` stands in. trims: of the text tower. Raises CheckpointError."""
    options = text.tokenizer_kwargs or TokenizerKwargs()
    cleaning = _CLEANING[options.clean or _default_cleaning(text.hf_tokenizer_name)]
    if not text.hf_tokenizer_name:
        if options.strip_sep_token:
            raise CheckpointError(f"{folder / config}: strip_sep_token without hf_tokenizer_name: there is no [SEP]")
        tokenizer = _read_simple(folder, config, text, trims, cleaning)
    else:
        _check_settings(folder)
        if not trims and not options.strip_sep_token and has_no_start(folder):
            tokenizer = read_siglip_tokenizer(folder, text.context_length, cleaning)
        else:
            tokenizer = _read_framed(folder, text, trims, cleaning, options.strip_sep_token)
    if not text.embed_cls:
        _check_pool(folder, config, text, tokenizer)
    return tokenizer


def write_open_clip_tokenizer(folder: Path, tokenizer: Tokenizer, trims: bool) -> dict[str, Any]:
    """The files, and what text_cfg must say of them. Raises RequestError where open_clip would pad texts otherwise, and
    the text tower sees it."""
    spec, engine = tokenizer.spec, tokenizer.engine
    text_cfg: dict[str, Any] = {}
    if is_openai(engine) and spec.start_id is not None and (trims or spec.pad_id == 0):
        write_tokenizer(folder, tokenizer)
    else:
        # Any name makes open_clip read the tokenizer of the folder itself (local-dir:) instead of its own.
        text_cfg["hf_tokenizer_name"] = "."
        if trims:
            write_tokenizer(folder, tokenizer)
        else:
            if spec.pad_id not in engine.get_added_tokens_decoder():
                raise RequestError(
                    f"texts are padded with {engine.id_to_token(spec.pad_id)!r} ({spec.pad_id}), an ordinary token, "
                    "which transformers, by which open_clip reads this tokenizer, would cut out of texts: this model "
                    "cannot be written so"
                )
            write_siglip_tokenizer(folder, tokenizer, cleans=False)
    if spec.pad_id and trims:
        text_cfg["pad_id"] = spec.pad_id
    default = _default_cleaning(text_cfg.get("hf_tokenizer_name"))
    if _NEAREST.get(spec.clean, default) != default:
        text_cfg["tokenizer_kwargs"] = {"clean": _NEAREST[spec.clean]}
    return text_cfg


def _default_cleaning(hf_tokenizer_name: Any) -> str:
    return "whitespace" if hf_tokenizer_name else "lower"


def _read_simple(folder: Path, config: str, text: Text, trims: bool, cleaning: Clean) -> Tokenizer:
    engine, special = read_tokenizer(folder)
    try:
        split_as_openai(engine, lower=cleaning != "ftfy")
    except ValueError as failure:
        raise CheckpointError(
            f"{folder}: without text_cfg.hf_tokenizer_name in {config}, open_clip splits texts as OpenAI's CLIP; "
            f"this tokenizer cannot: {failure}"
        ) from None
    return make_tokenizer(engine, special, text.context_length, text.pad_id if trims else 0, cleaning, not trims)


def _read_framed(folder: Path, text: Text, trims: bool, cleaning: Clean, strip: bool) -> Tokenizer:
    separator = read_names(folder).get("sep_token")
    if strip and separator is None:
        raise CheckpointError(f"{folder}: {SETTINGS} names no sep_token, of which strip_sep_token makes the id 0")
    engine, special = read_tokenizer(folder)
    if strip:
        special = _stripped(folder, engine, special, separator)
    pad_id = text.pad_id if trims else special.pad_id
    if pad_id is None:
        raise CheckpointError(
            f"{folder}: neither {SETTINGS} nor another file names the pad_token of its texts, which the model sees"
        )
    return make_tokenizer(engine, special, text.context_length, pad_id, cleaning, not trims)


def _stripped(folder: Path, engine: Engine, special: Special, separator: str | None) -> Special:
    """With the id 0 for the separator that ends a text."""
    zero = engine.id_to_token(0)
    if separator != special.end_token or zero is None:
        raise CheckpointError(
            f"{folder}: strip_sep_token makes the id 0 of {separator!r}, and texts end with {special.end_token!r}; "
            "that is not known here"
        )
    pad_id = 0 if special.pad_id == special.end_id else special.pad_id
    return replace(special, end_token=zero, end_id=0, pad_id=pad_id)


def _check_settings(folder: Path) -> None:
    """What transformers takes from tokenizer_config.json, whatever `tokenizer.json` says."""
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    for key in ("padding_side", "truncation_side"):
        if settings.get(key, "right") != "right":
            raise CheckpointError(f"{folder / SETTINGS}: {key} {settings[key]!r} is not known here, only 'right'")
    if str(settings.get("tokenizer_class", "")).startswith("BertTokenizer") and (folder / TOKENIZER).is_file():
        told = normalizers.BertNormalizer(
            clean_text=True,
            handle_chinese_chars=settings.get("tokenize_chinese_chars", True),
            strip_accents=settings.get("strip_accents"),
            lowercase=settings.get("do_lower_case", True),
        )
        found = read_engine(folder / TOKENIZER).normalizer
        if str(found) != str(told):
            raise CheckpointError(
                f"{folder / SETTINGS}: asks for {told}, and {TOKENIZER} has {found}: they do not belong together"
            )


def _check_pool(folder: Path, config: str, text: Text, tokenizer: Tokenizer) -> None:
    end_token, end_id = tokenizer.spec.end_token, tokenizer.spec.end_id
    if text.pool_type == "eos" and text.eos_id != end_id:
        raise CheckpointError(
            f"{folder}: text_cfg.eos_id is {text.eos_id} in {config}, but {end_token!r} has the id {end_id} in "
            f"{TOKENIZER}: they do not belong together"
        )
    if text.pool_type == "argmax" and not is_largest(tokenizer.engine, end_id):
        raise CheckpointError(
            f"{folder}: open_clip pools at the largest id of a text, and {end_token!r} ({end_id}) is not the largest "
            f"of {TOKENIZER}: they do not belong together"
        )
