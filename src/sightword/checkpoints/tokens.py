"""The tokenizer of a repository folder, with the special tokens that its files name.

CLIP (arXiv 2103.00020) frames a text with a start and an end token and pools at the end token. Where a library looks
for the largest id instead of for the end token itself, the two are the same only if no token has a larger id; that is
checked here, because otherwise texts would be pooled in the wrong place without a word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Engine
from tokenizers import processors

from sightword.checkpoints.vocabulary import TOKENIZER, find_engine
from sightword.checkpoints.weights import read_json, write_json
from sightword.data.cleaning import Clean
from sightword.data.tokenizer import END, START, TextSpec, Tokenizer
from sightword.errors import CheckpointError, RequestError

SETTINGS = "tokenizer_config.json"
# Where a repository names its special tokens, the first that does being right.
_NAMES = (SETTINGS, "special_tokens_map.json")


@dataclass(frozen=True, slots=True)
class Special:
    """The special tokens of a folder. pad_id: None where its files name no padding."""

    start_token: str
    end_token: str
    start_id: int
    end_id: int
    pad_id: int | None


def read_names(folder: Path) -> dict[str, str]:
    """The special tokens that the files beside `tokenizer.json` name."""
    named: dict[str, str] = {}
    for file in _NAMES:
        values = read_json(folder / file) if (folder / file).is_file() else {}
        for key in ("bos_token", "eos_token", "cls_token", "sep_token", "pad_token"):
            token = values.get(key)
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                named.setdefault(key, token)
    return named


def read_special(folder: Path, engine: Engine) -> Special:
    """A start and an end, which BERT's tokenizers call otherwise. Raises CheckpointError where a named token is none,
    or where the tokenizer frames a text by other tokens."""
    named = read_names(folder)
    start = named.get("bos_token", named.get("cls_token", START))
    end = named.get("eos_token", named.get("sep_token", END))
    start_id, end_id = _id(engine, start, folder), _id(engine, end, folder)
    if engine.post_processor is not None:
        engine.no_padding()
        engine.no_truncation()
        framed = engine.encode("").ids
        if framed != [start_id, end_id]:
            raise CheckpointError(
                f"{folder / TOKENIZER}: frames an empty text as the ids {framed}, and the special tokens {start!r} and "
                f"{end!r} have {start_id} and {end_id}: these files do not belong together"
            )
    pad = engine.token_to_id(named["pad_token"]) if "pad_token" in named else None
    return Special(start, end, start_id, end_id, pad)


def _id(engine: Engine, token: str, folder: Path) -> int:
    number = engine.token_to_id(token)
    if number is None:
        raise CheckpointError(f"{folder / TOKENIZER}: has no token {token!r}, by which a text of CLIP is framed")
    return number


def is_largest(engine: Engine, token_id: int) -> bool:
    return token_id == max(engine.get_vocab(with_added_tokens=True).values())


def read_tokenizer(folder: Path) -> tuple[Engine, Special]:
    engine = find_engine(folder)
    return engine, read_special(folder, engine)


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """`tokenizer.json` as it is, and beside it the settings by which transformers reads it."""
    (folder / TOKENIZER).write_text(framed_by(tokenizer).to_str(pretty=True), encoding="utf-8")
    # An ordinary token (open_clip pads with id 0, which is "!") would become special there, and be cut out of texts.
    # What pads makes no difference behind the end token.
    spec = tokenizer.spec
    added = tokenizer.engine.get_added_tokens_decoder().get(spec.pad_id)
    pad = added.content if added is not None and added.special else spec.end_token
    write_json(folder / SETTINGS, settings_of(spec, pad))


def framed_by(tokenizer: Tokenizer) -> Engine:
    """A copy of the tokenizer's engine that frames texts by itself.

    A tokenizer of ours does not (its TextSpec does). Without the frame, transformers would pool in the wrong place,
    silently.
    """
    spec = tokenizer.spec
    engine = Engine.from_str(tokenizer.engine.to_str())
    special = [(spec.end_token, spec.end_id)]
    if spec.start_token is not None and spec.start_id is not None:
        special = [(spec.start_token, spec.start_id), *special]
    if engine.post_processor is None or engine.encode("").ids != [number for _, number in special]:
        before = [token for token, _ in special[:-1]]
        engine.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", spec.end_token],
            pair=[*before, "$A", "$B", spec.end_token],
            special_tokens=special,
        )
    return engine


def settings_of(spec: TextSpec, pad: str) -> dict[str, Any]:
    """What `tokenizer_config.json` must say, so that transformers reads `tokenizer.json` as it is. Raises RequestError
    for learned prefixes, which none of its tokens is."""
    if spec.prefixes:
        raise RequestError(
            "each text of this model begins with a learned prefix (captions or labels), which no file of another "
            "library can say: it cannot be written so; Sightword's own layout and `export` keep it"
        )
    start = {} if spec.start_token is None else {"bos_token": spec.start_token}
    return {
        # CLIPTokenizer of transformers 5 takes only vocabulary and merges, and puts CLIP's own splitting around them.
        "tokenizer_class": "PreTrainedTokenizerFast",
        **start,
        "eos_token": spec.end_token,
        "pad_token": pad,
        "unk_token": spec.end_token,
        "padding_side": "right",
        "model_max_length": spec.context,
        "clean_up_tokenization_spaces": False,
    }


def make_tokenizer(
    engine: Engine,
    special: Special,
    context: int,
    pad_id: int,
    clean: Clean = "none",
    pad_to_context: bool = False,
) -> Tokenizer:
    spec = TextSpec(
        context=context,
        start_token=special.start_token,
        end_token=special.end_token,
        start_id=special.start_id,
        end_id=special.end_id,
        pad_id=pad_id,
        pad_to_context=pad_to_context,
        clean=clean,
    )
    return Tokenizer(engine, spec)
