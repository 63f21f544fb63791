"""The Embedder of an exported folder: ONNX Runtime computes, and no torch is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sightword.checkpoints.contract import Contract, check_vocabulary, read_contract
from sightword.data.fast_images import prepare_fast, resize_with_pillow
from sightword.data.images import ImageLike
from sightword.data.tokenizer import Tokenizer
from sightword.embedding.base import BaseEmbedder, Decode, Vectors
from sightword.embedding.images import PixelBatch, read_batches
from sightword.errors import CheckpointError, RequestError
from sightword.labels.prompts import PLAIN
from sightword.labels.zero_shot import zero_shot
from sightword.onnx.record import (
    CONTRACT,
    IDS,
    IMAGE,
    LENGTHS,
    PIXELS,
    RECORD,
    TEXT,
    TOKENIZER,
    VECTORS,
    Record,
    read_record,
)

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

    from sightword.labels.classifier import Classifier

_AHEAD = 2  # batches of pictures that are read while the model has one
_UINT8, _INT64 = "tensor(uint8)", "tensor(int64)"


class OnnxEmbedder(BaseEmbedder):
    """What `sightword export` wrote, with the verbs of a Model: `embed_texts`, `embed_images`, `classifier`.

    threads: of ONNX Runtime; None leaves that to it. decode: as of an Embedder, with Pillow's resize. providers: of
    ONNX Runtime, in the order in which they are tried.
    """

    def __init__(
        self,
        folder: str | Path,
        threads: int | None = None,
        decode: Decode = "fast",
        providers: Sequence[str] = ("CPUExecutionProvider",),
    ) -> None:
        self.folder = Path(folder)
        self.record, self.contract, self.tokenizer = _read(self.folder)
        self.decode: Decode = decode
        size, length = self.contract.image.size, self.contract.text.context
        self._image = _open(self.folder / IMAGE, threads, providers)
        self._text = _open(self.folder / TEXT, threads, providers)
        _check_shapes(self._image, self.folder / IMAGE, {PIXELS: (_UINT8, [None, size, size, 3])}, self.dim)
        ids = (_INT64, [None, length if self.contract.text.pad_to_context else None])
        _check_shapes(self._text, self.folder / TEXT, {IDS: ids, LENGTHS: (_INT64, [None])}, self.dim)
        self._check_last_token()

    def _check_last_token(self) -> None:
        """No shape of the text graph tells how many tokens it knows."""
        last = np.full((1, self.contract.text.context), self.tokenizer.vocabulary - 1)
        try:
            self._text.run([VECTORS], {IDS: last, LENGTHS: np.array([last.shape[1]])})
        except Exception:  # as in _open
            raise CheckpointError(
                f"{self.folder / TEXT}: does not know the last of the {self.tokenizer.vocabulary} tokens of "
                f"{TOKENIZER}: they do not belong together"
            ) from None

    @property
    def scale(self) -> float:
        return self.record.scale

    @property
    def bias(self) -> float | None:
        return self.record.bias

    @cached_property
    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for file in sorted(self.folder.iterdir()):
            # The report names versions, and the contract where it comes from.
            if file.name != RECORD:
                digest.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
        return f"sha256:{digest.hexdigest()}"

    def classifier(self, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
        """A zero-shot classifier. templates: sentences with `{}` for the label; several are averaged."""
        return zero_shot(self, labels, templates)

    def embed_tokens(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int) -> Vectors:
        vectors = np.empty((len(ids), self.dim), dtype=np.float32)
        # Texts of one length go together, so that little is spent on padding.
        by_length = np.argsort(lengths, kind="stable")
        for start in range(0, len(ids), batch_size):
            chosen = by_length[start : start + batch_size]
            width = ids.shape[1] if self.contract.text.pad_to_context else int(lengths[chosen].max())
            batch = {IDS: ids[chosen, :width], LENGTHS: lengths[chosen]}
            vectors[chosen] = self._text.run([VECTORS], batch)[0]
        return vectors

    def read_images(self, images: Iterable[ImageLike], batch_size: int = 64) -> Generator[PixelBatch, None, None]:
        spec = self.contract.image
        prepare = spec.prepare if self.decode == "exact" else partial(prepare_fast, spec, resize_with_pillow)
        return read_batches(images, prepare, spec.size, batch_size, _AHEAD)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> Vectors:
        if not len(pixels):
            return np.empty((0, self.dim), dtype=np.float32)
        vectors: Vectors = self._image.run([VECTORS], {PIXELS: pixels})[0]
        return vectors


def load_onnx(
    folder: str | Path,
    threads: int | None = None,
    decode: Decode = "fast",
    providers: Sequence[str] = ("CPUExecutionProvider",),
) -> OnnxEmbedder:
    """Load a folder that `sightword export` wrote; the parameters are OnnxEmbedder's.

    Raises CheckpointError where it cannot be used as it is.
    """
    return OnnxEmbedder(folder, threads, decode, providers)


def _read(folder: Path) -> tuple[Record, Contract, Tokenizer]:
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: no such exported folder")
    files = (IMAGE, TEXT, TOKENIZER, CONTRACT, RECORD)
    for name in files:
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder}: lacks {name}; an exported folder holds {', '.join(files)}")
    contract = read_contract(folder / CONTRACT)
    tokenizer = Tokenizer.read(folder / TOKENIZER, contract.text)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONTRACT))
    return read_record(folder / RECORD), contract, tokenizer


def _open(path: Path, threads: int | None, providers: Sequence[str]) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError:
        raise RequestError("an exported model needs onnxruntime: pip install onnxruntime") from None
    there = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in there:
            raise RequestError(f"ONNX Runtime has no provider {provider!r} here; there are {', '.join(there)}")
    options = onnxruntime.SessionOptions()
    if threads is not None:
        if threads < 1:
            raise RequestError(f"threads must be at least 1, not {threads}")
        options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=[*providers])
    except Exception as failure:  # ONNX Runtime has one class for each of its status codes, and no common one
        reason = str(failure).strip().splitlines()[0]
        raise CheckpointError(f"{path}: not a graph that ONNX Runtime can run ({reason})") from None


def _check_shapes(
    session: InferenceSession, path: Path, inputs: dict[str, tuple[str, list[int | None]]], dim: int
) -> None:
    """That the graph takes what the contract says; None: any size."""

    def told(values: Iterable[Any]) -> dict[str, tuple[str, list[int | None]]]:
        return {
            item.name: (item.type, [size if isinstance(size, int) else None for size in item.shape]) for item in values
        }

    expected = inputs, {VECTORS: ("tensor(float)", [None, dim])}
    found = told(session.get_inputs()), told(session.get_outputs())
    for side, ours, theirs in zip(("takes", "gives"), expected, found, strict=True):
        if ours != theirs:
            raise CheckpointError(
                f"{path}: {side} {_words(theirs)}, and {CONTRACT} asks for {_words(ours)}: they do not belong together"
            )


def _words(values: dict[str, tuple[str, list[int | None]]]) -> str:
    return ", ".join(
        f"{name} {kind[len('tensor(') : -1]} [{', '.join('any' if size is None else str(size) for size in shape)}]"
        for name, (kind, shape) in values.items()
    )
