"""Text to token ids, through the `tokenizers` library, by a `tokenizer.json` and a few numbers of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator
from tokenizers import Tokenizer as Engine
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

from sightword.config import Config
from sightword.data.cleaning import Clean, clean
from sightword.data.pairs import DataKind, Tokens
from sightword.data.words import Words, encode_texts, splits_at_spaces
from sightword.errors import CheckpointError, RequestError

START, END = "<|startoftext|>", "<|endoftext|>"


class Prefixes(Config):
    """The ids of learned tokens, of which each text has one behind its start (prefix conditioning, arXiv 2206.01125).
    captions, labels: of texts of these kinds. default: that of a text of which no more is known; the paper classifies
    by names behind the prefix of captions."""

    captions: Annotated[int, Field(ge=0)]
    labels: Annotated[int, Field(ge=0)]
    default: DataKind = "captions"

    @property
    def ids(self) -> dict[DataKind, int]:
        return {"captions": self.captions, "labels": self.labels}


class TextSpec(Config):
    """How a text becomes a tower's input; part of every contract.

    context: the most tokens of a text, start and end included. start_id, end_id, pad_id: the special ids, checked
    against the tokenizer when a checkpoint is loaded; without a start (None) a text has only an end. pad_to_context:
    for towers that were trained on padding and see it. clean: what is done to a text first (see data/cleaning).
    prefixes: of a model that learned them.
    """

    context: Annotated[int, Field(ge=3)]
    start_token: str | None
    end_token: str
    start_id: int | None
    end_id: int
    pad_id: int
    pad_to_context: bool = False
    clean: Clean = "none"
    prefixes: Prefixes | None = None

    @model_serializer(mode="wrap")
    def _as_before(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without prefixes it is written as before there were any: the fingerprints of models stay."""
        values: dict[str, Any] = handler(self)
        if self.prefixes is None:
            values.pop("prefixes", None)
        return values

    @model_validator(mode="after")
    def _start_is_whole(self) -> TextSpec:
        if (self.start_token is None) != (self.start_id is None):
            raise ValueError("start_token and start_id are both given or both null")
        return self

    @model_validator(mode="after")
    def _prefixes_stand_behind_a_start(self) -> TextSpec:
        if self.prefixes and self.start_id is None:
            raise ValueError("prefixes stand behind a start, and there is none (start_id)")
        return self


class Tokenizer:
    """A `tokenizers` engine with its TextSpec. Special strings inside a text are encoded as ordinary text."""

    def __init__(self, engine: Engine, spec: TextSpec) -> None:
        for name, token, expected in (
            ("start", spec.start_token, spec.start_id),
            ("end", spec.end_token, spec.end_id),
        ):
            if token is not None and engine.token_to_id(token) != expected:
                raise CheckpointError(
                    f"the contract says that the {name} token {token!r} has id {expected}, but in the tokenizer it has "
                    f"{engine.token_to_id(token)}: tokenizer.json and contract.json do not belong together"
                )
        for kind, number in spec.prefixes.ids.items() if spec.prefixes else ():
            if (token := engine.id_to_token(number)) is not None:
                raise CheckpointError(
                    f"the contract says that {number} is the id of the prefix of {kind}, but in the "
                    f"tokenizer it is that of {token!r}: tokenizer.json and contract.json do not belong together"
                )
        self.engine = engine
        self.spec = spec
        engine.no_padding()
        engine.no_truncation()
        # Otherwise a text that holds "<|endoftext|>" would end there.
        engine.encode_special_tokens = True
        self._encode = Words(engine) if splits_at_spaces(engine) else partial(encode_texts, engine)

    @classmethod
    def read(cls, path: Path, spec: TextSpec) -> Tokenizer:
        engine = read_engine(path)
        try:
            return cls(engine, spec)
        except CheckpointError as failure:
            raise CheckpointError(f"{path}: {failure}") from None

    def save(self, path: Path) -> None:
        path.write_text(self.engine.to_str(pretty=True), encoding="utf-8")

    @property
    def vocabulary(self) -> int:
        """The number of rows that an embedding table needs."""
        prefixes = self.spec.prefixes
        written = max(prefixes.ids.values()) + 1 if prefixes else 0
        return max(written, self.engine.get_vocab_size(with_added_tokens=True))

    @property
    def room(self) -> int:
        """How many tokens of a text the model reads, beside those that begin and end it."""
        return self.spec.context - len(self.begin) - 1

    @property
    def begin(self) -> tuple[int, ...]:
        """The ids that each text begins with, if no more is known of it."""
        spec = self.spec
        start = () if spec.start_id is None else (spec.start_id,)
        return (*start, spec.prefixes.ids[spec.prefixes.default]) if spec.prefixes else start

    def with_prefixes(self, rows: int) -> Tokenizer:
        """Its texts with learned prefixes, which take the two rows behind the `rows` of an embedding table. Raises
        RequestError where there is no room for them, or no start that they could stand behind."""
        if self.spec.start_id is None or self.room < 2:
            raise RequestError(
                "a learned prefix stands behind the start of a text and before a token of it at least: this model's "
                f"texts have {'no start' if self.spec.start_id is None else f'only {self.spec.context} tokens'}"
            )
        prefixes = Prefixes(captions=rows, labels=rows + 1)
        return Tokenizer(self.engine, self.spec.model_copy(update={"prefixes": prefixes}))

    def reading(self, kind: DataKind) -> Tokenizer:
        """The same, to which a text is of this `kind` if no more is known. Raises RequestError without prefixes."""
        if self.spec.prefixes is None:
            raise RequestError(f"texts cannot be read as {kind}: this model learned no prefixes (recipes/mixed.toml)")
        prefixes = self.spec.prefixes.model_copy(update={"default": kind})
        return Tokenizer(self.engine, self.spec.model_copy(update={"prefixes": prefixes}))

    def counts(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """How many tokens each text has, uncut, beside those that begin and end it: [B]."""
        return self._encode(clean(texts, self.spec.clean))[1]

    def __call__(self, texts: Sequence[str], truncate: bool = False, kinds: Sequence[DataKind] | None = None) -> Tokens:
        """Token ids of each text, padded only to the longest of them where the towers do not ask for more. kinds: of
        the texts, one each, where that is known; it makes a difference to a model with learned prefixes alone.

        A text that does not fit the context raises RequestError, or is cut with its end token kept (`truncate`).
        """
        from torch import from_numpy

        ids, lengths = self.encode(texts, truncate, kinds)
        return Tokens(from_numpy(ids), from_numpy(lengths))

    def encode(
        self, texts: Sequence[str], truncate: bool = False, kinds: Sequence[DataKind] | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ids [B, L] and lengths [B] of the same, where there is no torch."""
        spec, before, room = self.spec, len(self.begin), self.room
        ids, counts = self._encode(clean(texts, spec.clean))
        if not truncate and (counts > room).any():
            first = int((counts > room).argmax())
            raise RequestError(
                f"{_shorten(texts[first])!r} has {counts[first]} tokens; the model reads at most {room}: shorten it"
            )
        kept = np.minimum(counts, room)
        lengths = kept + before + 1
        width = spec.context if spec.pad_to_context else int(lengths.max(initial=0))
        rows = np.full((len(texts), width), spec.pad_id, np.int64)
        if len(texts):
            rows[:, :before] = self.begin
            if spec.prefixes and kinds is not None:
                rows[:, before - 1] = [*map(spec.prefixes.ids.__getitem__, kinds)]
        text = np.repeat(np.arange(len(texts)), kept)
        place = np.arange(len(text)) - np.repeat(kept.cumsum() - kept, kept)
        rows[text, before + place] = ids[(counts.cumsum() - counts)[text] + place]
        rows[np.arange(len(texts)), lengths - 1] = spec.end_id
        return rows, lengths


def read_engine(path: Path) -> Engine:
    try:
        return Engine.from_file(str(path))
    except Exception as failure:  # `tokenizers` raises bare Exception for a missing, empty or malformed file
        raise CheckpointError(f"{path}: not a readable tokenizer.json ({failure})") from None


def train_tokenizer(texts: Iterable[str], vocabulary: int, context: int) -> Tokenizer:
    """Byte-level BPE on `texts` (lower-cased, NFC), with CLIP's special tokens.

    The vocabulary may come out smaller where the texts hold fewer merges. Source: CLIP (arXiv 2103.00020), section 2.4.
    """
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if vocabulary < len(alphabet) + 2:
        raise RequestError(f"a byte-level vocabulary needs at least {len(alphabet) + 2} entries, not {vocabulary}")
    engine = Engine(models.BPE())
    engine.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    # The space before a word is kept in the word, and every text begins with one: so a word has the same tokens
    # wherever it stands.
    engine.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    engine.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - 2,
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    engine.train_from_iterator(sorted(set(texts)), trainer)
    # As in CLIP, the end of text has the largest id: other libraries find it so.
    engine.add_special_tokens([START, END])
    start_id, end_id = engine.token_to_id(START), engine.token_to_id(END)
    assert start_id is not None
    assert end_id is not None
    spec = TextSpec(context=context, start_token=START, end_token=END, start_id=start_id, end_id=end_id, pad_id=end_id)
    return Tokenizer(engine, spec)


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
