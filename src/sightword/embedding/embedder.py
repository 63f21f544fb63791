"""The Embedder: a model with its contract on a device. Pictures and texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.fingerprint import fingerprint
from sightword.data.fast_images import prepare_fast
from sightword.data.images import ImageLike
from sightword.data.tokenizer import Tokenizer
from sightword.embedding import Precision
from sightword.embedding.images import PixelBatch, read_batches
from sightword.embedding.precision import DTYPES, Chosen, choose, convert
from sightword.embedding.texts import encode_texts
from sightword.errors import ImageError, RequestError
from sightword.towers.dual import DualEncoder

Decode: TypeAlias = Literal["fast", "exact"]
Vectors: TypeAlias = NDArray[np.float32]

_AHEAD = 2  # batches of pictures that are read while the model has one
_WINDOW = 8192  # texts held as tokens at a time


class ImageBatch(NamedTuple):
    """positions: of the pictures that were read, in the order of the source; vectors [len(positions), D] are theirs.
    unreadable: what is wrong with the others, by position."""

    positions: list[int]
    vectors: Vectors
    unreadable: dict[int, ImageError]


class Embedder:
    """Owns batching, decoding threads, device and precision. Vectors are always float32.

    The model is taken over: its weights are moved and converted in place.

    device: `auto` takes a GPU where there is one. precision: of the weights and of all that is computed with them;
    `auto` measures whether half of the bits are faster here, and the attribute says what was chosen. decode: `fast`
    reads a large JPEG at a part of its size, and gives nearly the pixels that the contract describes; `exact` gives
    these.
    """

    def __init__(
        self,
        model: DualEncoder,
        contract: Contract,
        tokenizer: Tokenizer,
        device: str = "auto",
        precision: Precision = "fp32",
        decode: Decode = "fast",
    ) -> None:
        self.device = find_device(device)
        self.contract = contract
        self.tokenizer = tokenizer
        self.decode: Decode = decode
        self.model = model.to(self.device).eval()
        self.precision: Chosen = choose(precision, self.model, self.device)
        convert(self.model, self.precision)

    @property
    def scale(self) -> float:
        """What a cosine is multiplied with to give a logit."""
        return float(self.model.scale.detach())

    @property
    def bias(self) -> float | None:
        """What is then added, in a sigmoid model (SigLIP). None in a softmax model."""
        return None if self.model.logit_bias is None else float(self.model.logit_bias.detach())

    @property
    def dim(self) -> int:
        return self.contract.architecture.embed_dim

    @cached_property
    def fingerprint(self) -> str:
        """Names what this computes: of the weights as they were when it was first asked for, and of their use."""
        return fingerprint(self.model, self.contract)

    def embed_texts(self, texts: Sequence[str], batch_size: int = 256, truncate: bool = False) -> Vectors:
        """Texts to unit vectors [N, D]. A text longer than the model's context raises RequestError, or is cut where
        `truncate` says so. batch_size: of towers whose texts cannot be packed (see texts.py)."""
        _refuse_single(texts, "texts")
        _check_batch(batch_size)
        vectors = np.empty((len(texts), self.dim), dtype=np.float32)
        for start in range(0, len(texts), _WINDOW):
            tokens = self.tokenizer(texts[start : start + _WINDOW], truncate)
            with torch.inference_mode():
                vectors[start : start + len(tokens)] = encode_texts(self.model, tokens, self.device, batch_size)
        return vectors

    def embed_images(
        self,
        images: Iterable[ImageLike],
        batch_size: int = 64,
        skipped: dict[int, ImageError] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> Vectors:
        """Pictures to unit vectors [N, D], in order.

        An unreadable picture raises ImageError; with `skipped`, it is noted there under its position and left out of
        the result instead. `progress` is called with the number of pictures done after each batch.
        """
        parts: list[Vectors] = []
        done = 0
        for batch in self.iter_images(images, batch_size):
            for position, error in batch.unreadable.items():
                if skipped is None:
                    raise error
                skipped[position] = error
            parts.append(batch.vectors)
            done += len(batch.positions) + len(batch.unreadable)
            if progress:
                progress(done)
        return np.concatenate(parts) if parts else np.empty((0, self.dim), dtype=np.float32)

    def iter_images(self, images: Iterable[ImageLike], batch_size: int = 64) -> Generator[ImageBatch, None, None]:
        """Pictures to unit vectors, batch by batch: for sources without end, or of more vectors than memory holds.

        Every picture is in one batch, read or unreadable, and the batches follow the order of the source, of which no
        more than a few batches are taken ahead.
        """
        _refuse_single(images, "images")
        _check_batch(batch_size)
        return self._iter_images(images, batch_size)

    def _iter_images(self, images: Iterable[ImageLike], batch_size: int) -> Generator[ImageBatch, None, None]:
        for batch in self.read_images(images, batch_size):
            yield ImageBatch(batch.positions, self.embed_pixels(batch.pixels), batch.unreadable)

    def read_images(self, images: Iterable[ImageLike], batch_size: int = 64) -> Generator[PixelBatch, None, None]:
        """The half of `iter_images` that reads: pictures to what the model sees."""
        spec, on_gpu = self.contract.image, self.device.type == "cuda"
        prepare = spec.prepare if self.decode == "exact" else partial(prepare_fast, spec)
        return read_batches(images, prepare, spec.size, batch_size, _AHEAD, pinned=on_gpu)

    @torch.inference_mode()
    def embed_pixels(self, pixels: Tensor) -> Vectors:
        """The other half: uint8 [N, size, size, 3] to unit vectors [N, D]."""
        if not len(pixels):
            return np.empty((0, self.dim), dtype=np.float32)
        # Channels stay last, as decoded: what convolutions are fastest on.
        images_B3HW = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2)
        normalised = self.contract.image.normalise(images_B3HW).to(DTYPES[self.precision])
        vectors: Vectors = self.model.encode_image(normalised).cpu().numpy()
        return vectors


def find_device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as failure:
        reason = str(failure).splitlines()[0]
        raise RequestError(f"the device {name!r} cannot be used here ({reason}); try cpu") from None
    return device


def _check_batch(size: int) -> None:
    if size < 1:
        raise RequestError(f"batch_size must be at least 1, not {size}")


def _refuse_single(items: object, what: str) -> None:
    # A string is a sequence of strings: without this, "a dog" would become five texts, and a picture one grey picture
    # for each of its rows. (A stack of grey pictures, [N, H, W], is a list of them.)
    one_array = isinstance(items, np.ndarray) and (items.ndim < 3 or (items.ndim == 3 and items.shape[2] in (1, 3, 4)))
    if isinstance(items, str | bytes | Path | Image.Image) or one_array:
        raise RequestError(f"{what} must be a list; put the single one into brackets")
