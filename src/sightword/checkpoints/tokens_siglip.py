"""The tokenizer of a SigLIP folder: `tokenizer.json`, one end token and no start, padded on the right to the full
context with the token that the files name.

What pads is seen by the model, so it is never guessed. Beside `tokenizer.json` stands `tokenizer_config.json`, by which
transformers reads it, and by whose class a cleaning of the texts is known.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

from tokenizers import Regex, normalizers
from tokenizers import Tokenizer as Engine

from sightword.checkpoints.tokens import SETTINGS, framed_by, read_names, settings_of
from sightword.checkpoints.vocabulary import TOKENIZER
from sightword.checkpoints.weights import read_json, write_json
from sightword.data.cleaning import Clean
from sightword.data.tokenizer import TextSpec, Tokenizer, read_engine
from sightword.errors import CheckpointError

# Where a folder of ours says what its tokenizer.json does to a text by itself; transformers passes it over.
_CLEAN = "sightword_clean"


def has_no_start(folder: Path) -> bool:
    """Whether texts are framed by an end alone, or by nothing that the folder's files say."""
    path = folder / TOKENIZER
    if not path.is_file() or _ends_alone(folder):
        return True
    engine = read_engine(path)
    return engine.post_processor is None or len(_framed(engine)) < 2


def read_siglip_tokenizer(folder: Path, context: int, clean: Clean) -> Tokenizer:
    """Raises CheckpointError where files are missing, where a named token is none, and where `tokenizer.json` frames a
    text otherwise."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: lacks {TOKENIZER}; a spiece.model is not read: make it once, with transformers and "
            f"sentencepiece: T5Tokenizer.from_pretrained(FOLDER, extra_ids=0).backend_tokenizer.save('{TOKENIZER}')"
        )
    engine, names = read_engine(path), read_names(folder)
    _drop(engine, clean)
    ids: dict[str, int] = {}
    for key in ("eos_token", "pad_token"):
        if key not in names:
            raise CheckpointError(f"{folder}: neither {SETTINGS} nor another file names the {key} of its texts")
        number = engine.token_to_id(names[key])
        if number is None:
            raise CheckpointError(f"{path}: has no token {names[key]!r}, which {SETTINGS} names as the {key}")
        ids[key] = number
    if engine.post_processor is not None and not _ends_alone(folder):
        framed = _framed(engine)
        if framed != [ids["eos_token"]]:
            raise CheckpointError(
                f"{path}: frames an empty text as the ids {framed}, and a text of SigLIP has its end token alone, "
                f"{names['eos_token']!r} ({ids['eos_token']}): these files do not belong together"
            )
    spec = TextSpec(
        context=context,
        start_token=None,
        end_token=names["eos_token"],
        start_id=None,
        end_id=ids["eos_token"],
        pad_id=ids["pad_token"],
        pad_to_context=True,
        clean=clean,
    )
    return Tokenizer(engine, spec)


def told_clean(folder: Path) -> Clean:
    """What transformers' class does to a text, and lower case where that is not SigLIP's own."""
    settings: dict[str, Any] = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    canonical = settings.get(_CLEAN) == "canonical" or settings.get("tokenizer_class") == "SiglipTokenizer"
    return "canonical" if canonical else "lower"


def write_siglip_tokenizer(folder: Path, tokenizer: Tokenizer, cleans: bool = True) -> None:
    """For transformers' AutoTokenizer. cleans: put into `tokenizer.json` what is done to a text before it."""
    spec = tokenizer.spec
    engine = framed_by(tokenizer)
    settings = settings_of(spec, engine.id_to_token(spec.pad_id) or spec.end_token)
    if cleans:
        steps = [*_steps(spec.clean), *([] if engine.normalizer is None else [engine.normalizer])]
        engine.normalizer = normalizers.Sequence(steps)
        settings[_CLEAN] = spec.clean
    (folder / TOKENIZER).write_text(engine.to_str(pretty=True), encoding="utf-8")
    write_json(folder / SETTINGS, settings)


def _ends_alone(folder: Path) -> bool:
    """Gemma's class puts the frame on by these two, whatever the file holds."""
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    return settings.get("add_bos_token") is False and settings.get("add_eos_token") is True


def _framed(engine: Engine) -> list[int]:
    """An empty text as the engine frames it."""
    engine.no_padding()
    engine.no_truncation()
    return engine.encode("").ids


def _drop(engine: Engine, clean: Clean) -> None:
    """Take away the steps of `clean` that a folder of ours put in front of its normalizer: they are done before."""
    steps, found = _steps(clean), engine.normalizer
    if isinstance(found, normalizers.Sequence):
        each = [found[place] for place in range(len(found))]
        if [*map(str, each[: len(steps)])] == [*map(str, steps)]:
            engine.normalizer = normalizers.Sequence(each[len(steps) :])


def _steps(clean: Clean) -> list[normalizers.Normalizer]:
    """As far as a `tokenizer.json` can say it: ftfy's mending stays out."""
    one_space = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    marks = Regex("[" + "".join(f"\\{mark}" for mark in string.punctuation) + "]")
    steps: list[normalizers.Normalizer] = []
    if clean == "ftfy_canonical":
        steps.append(normalizers.Replace("_", " "))
    if clean in ("lower", "canonical", "ftfy_lower", "ftfy_canonical"):
        steps.append(normalizers.Lowercase())
    if clean in ("canonical", "ftfy_canonical"):
        steps.append(normalizers.Replace(marks, ""))
    if clean not in ("none", "lower"):
        steps += one_space
    return steps
