"""A tokenizer of CLIP's kind from what there is: `tokenizer.json`, or the vocabulary in the files of before it.

Those are `vocab.json` with `merges.txt` (transformers' CLIPTokenizer), and `bpe_simple_vocab_16e6.txt.gz` (OpenAI's and
open_clip's), merges of which the first 48,894 count. Each gives the engine that transformers would make of it.

Source of the order of ids: simple_tokenizer.py of openai/CLIP. The 256 byte symbols, the same with the mark of a word's
end, one token for each merge, start and end of a text.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Engine

from sightword.checkpoints.weights import read_json
from sightword.data.tokenizer import END, START, read_engine
from sightword.data.words import PIECES, PIECES_OF_ANY_CASE
from sightword.errors import CheckpointError

TOKENIZER, VOCABULARY, MERGES, OPENAI = "tokenizer.json", "vocab.json", "merges.txt", "bpe_simple_vocab_16e6.txt.gz"
# What a folder's tokenizer may be read from; the first that is there whole counts.
SOURCES = ((TOKENIZER,), (VOCABULARY, MERGES), (OPENAI,))
_OPENAI_MERGES = 48_894
_OPENAI_BYTES = 1 << 23  # of the unpacked file, which has 3,194,984
_END_OF_WORD = "</w>"
# Enough entries of OpenAI's vocabulary to tell it from any other.
_OPENAI = {"!": 0, "!</w>": 256, "in": 512, "th": 513, "an": 514, "jekyll</w>": 49405, START: 49406, END: 49407}

Merges = Sequence[tuple[str, str]]


def find_engine(folder: Path) -> Engine:
    """The tokenizer of a folder, from the first of its files that is there. Raises CheckpointError."""
    readers: tuple[Callable[..., Engine], ...] = (read_engine, _read_vocabulary, _read_openai)
    for files, read in zip(SOURCES, readers, strict=True):
        paths = [folder / file for file in files]
        if all(path.is_file() for path in paths):
            return read(*paths)
    raise CheckpointError(
        f"{folder}: lacks {TOKENIZER}, which says how texts become tokens; {VOCABULARY} with {MERGES} will do, and for "
        f"a CLIP with OpenAI's vocabulary {OPENAI}, from github.com/openai/CLIP (folder clip)"
    )


def clip_engine(vocabulary: Mapping[str, int], merges: Merges) -> Engine:
    """The engine that transformers' CLIPTokenizer makes of a vocabulary."""
    model = models.BPE(
        vocab=dict(vocabulary),
        merges=list(merges),
        continuing_subword_prefix="",
        end_of_word_suffix=_END_OF_WORD,
        unk_token=END,
    )
    engine = Engine(model)
    _split(engine, PIECES, lower=True)
    engine.decoder = decoders.ByteLevel()
    engine.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (START, END)])
    engine.post_processor = processors.RobertaProcessing(
        (END, vocabulary[END]), (START, vocabulary[START]), trim_offsets=False, add_prefix_space=False
    )
    return engine


def split_as_openai(engine: Engine, lower: bool) -> None:
    """Let `engine` cut texts as simple_tokenizer.py does, whatever its file says. Raises ValueError where its
    vocabulary is not of that kind. lower: into lower case first."""
    if not isinstance(engine.model, models.BPE) or engine.model.end_of_word_suffix != _END_OF_WORD:
        raise ValueError("its tokens are not those of CLIP's byte pairs, whose words end with </w>")
    _split(engine, PIECES_OF_ANY_CASE, lower)


def _split(engine: Engine, pieces: str, lower: bool) -> None:
    normalizer = [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " ")]
    engine.normalizer = normalizers.Sequence([*normalizer, normalizers.Lowercase()] if lower else normalizer)
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pieces), "removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def is_openai(engine: Engine) -> bool:
    """Whether the vocabulary is that of OpenAI's CLIP, which open_clip carries itself."""
    return engine.get_vocab_size(with_added_tokens=True) == 49_408 and all(
        engine.token_to_id(token) == number for token, number in _OPENAI.items()
    )


def _read_vocabulary(path: Path, merges_path: Path) -> Engine:
    vocabulary = read_json(path)
    ids = list(vocabulary.values())
    if not all(type(number) is int for number in ids) or sorted(ids) != list(range(len(ids))):
        raise CheckpointError(f"{path}: its {len(ids)} tokens do not have the ids 0 to {len(ids) - 1}, one each")
    for token in (START, END):
        if token not in vocabulary:
            raise CheckpointError(f"{path}: has no token {token!r}, by which a text of CLIP is framed")
    try:
        lines = merges_path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as failure:
        raise CheckpointError(f"{merges_path}: not readable as text ({failure})") from None
    merges = _merges(lines, merges_path)
    made = {"".join(merge) for merge in merges}
    for merge in merges:
        for token in (*merge, "".join(merge)):
            if token not in vocabulary:
                raise CheckpointError(
                    f"{merges_path}: merges {' and '.join(merge)}, and {path.name} has no {token!r}: "
                    "they do not belong together"
                )
    letters = {*_byte_symbols(), *(symbol + _END_OF_WORD for symbol in _byte_symbols())}
    for token in vocabulary:
        if token not in made and token not in letters and token not in (START, END):
            raise CheckpointError(
                f"{path}: {token!r} comes out of none of the {len(merges)} merges of {merges_path.name}: one of the "
                "files is cut off, or they do not belong together"
            )
    return clip_engine(vocabulary, merges)


def _read_openai(path: Path) -> Engine:
    try:
        with gzip.open(path) as file:
            content = file.read(_OPENAI_BYTES + 1)
        if len(content) > _OPENAI_BYTES:
            raise ValueError("it is far too large")
        lines = content.decode("utf-8").split("\n")
    except (OSError, EOFError, ValueError) as failure:
        raise CheckpointError(f"{path}: not OpenAI's list of merges ({failure}): fetch it again") from None
    merges = _merges(lines[: _OPENAI_MERGES + 1], path)
    symbols = _byte_symbols()
    tokens = [*symbols, *(symbol + _END_OF_WORD for symbol in symbols), *map("".join, merges), START, END]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    if any(vocabulary.get(token) != number for token, number in _OPENAI.items()):
        raise CheckpointError(f"{path}: not OpenAI's list of merges (the ids come out otherwise): fetch it again")
    return clip_engine(vocabulary, merges)


def _merges(lines: Sequence[str], path: Path) -> list[tuple[str, str]]:
    merges: list[tuple[str, str]] = []
    # The first line names the version.
    first = 1 if lines and "#version" in lines[0] else 0
    for number, line in enumerate(lines[first:], start=first + 1):
        parts = line.split()
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
        elif parts:
            raise CheckpointError(f"{path}: line {number} is no merge of two tokens: {line[:40]!r}")
    return merges


def _byte_symbols() -> list[str]:
    """One printable character for each byte: itself where it is one, and one from 256 on where it is not."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = 256 - len(printable)
    return [*map(chr, printable), *map(chr, range(256, 256 + others))]
