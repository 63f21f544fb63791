"""The Embedder: everything in, unit vectors out, in order, whatever the batching."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import sightword
from sightword.checkpoints.contract import Contract
from sightword.data.pairs import Tokens
from sightword.data.tokenizer import Tokenizer
from sightword.embedding.embedder import Embedder, find_device
from sightword.errors import ImageError, RequestError
from sightword.model import Model
from sightword.towers.dual import DualEncoder
from sightword.towers.text import TextConfig

TEXTS = ["a red circle", "", "a yellow star on a dark sky", "x", "A RED circle", "the flag of a country", "café"]


def near(one: np.ndarray, other: np.ndarray, tolerance: float = 1e-6) -> bool:
    return one.shape == other.shape and bool(np.abs(one - other).max(initial=0) <= tolerance)


@pytest.fixture(scope="module")
def vectors(model: Model, image_files: list[Path]) -> np.ndarray:
    """Each picture embedded alone."""
    return np.concatenate([model.embed_images([file]) for file in image_files])


def test_images_are_unit_vectors_in_order(model: Model, image_files: list[Path], vectors: np.ndarray) -> None:
    together = model.embed_images(image_files)
    assert together.dtype == np.float32
    assert together.shape == (8, model.dim)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    assert near(together, vectors)
    assert near(model.embed_images(image_files[::-1]), vectors[::-1])
    # The pictures differ by far more than the tolerance, so that a swap would show.
    distances = np.linalg.norm(vectors[:, None] - vectors[None], axis=2) + np.eye(8)
    assert distances.min() > 1e-3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8, 100])
def test_the_batch_size_makes_no_difference(
    model: Model, image_files: list[Path], vectors: np.ndarray, batch_size: int
) -> None:
    assert near(model.embed_images(image_files, batch_size=batch_size), vectors)
    assert near(model.embed_texts(TEXTS, batch_size=batch_size), model.embed_texts(TEXTS))


def test_vectors_are_what_the_towers_give(model: Model, image_files: list[Path]) -> None:
    with torch.no_grad():
        pixels = torch.tensor(model.contract.image.prepare(image_files[0])).permute(2, 0, 1)[None]
        image = model.model.encode_image(model.contract.image.normalise(pixels))
        text = model.model.encode_text(model.tokenizer(TEXTS[:1]))
    assert near(model.embed_images(image_files[:1]), image.numpy())
    assert near(model.embed_texts(TEXTS[:1]), text.numpy())
    assert model.scale == pytest.approx(1 / 0.07, rel=1e-6)


def test_sorting_texts_by_length_does_not_show(model: Model) -> None:
    alone = np.concatenate([model.embed_texts([text]) for text in TEXTS])
    together = model.embed_texts(TEXTS, batch_size=2)
    assert near(together, alone)
    assert near(together[0], together[4])  # lower-cased by the tokenizer
    distinct = np.delete(together, 4, axis=0)
    assert (np.linalg.norm(distinct[:, None] - distinct[None], axis=2) + np.eye(6)).min() > 1e-3


def test_more_texts_than_a_window(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = model.embed_texts(TEXTS)
    monkeypatch.setattr("sightword.embedding.base._WINDOW", 3)
    assert near(model.embed_texts(TEXTS), expected)


def test_nothing_gives_nothing(model: Model) -> None:
    for empty in (model.embed_images([]), model.embed_images(iter(())), model.embed_texts([])):
        assert empty.shape == (0, model.dim)
        assert empty.dtype == np.float32


def test_images_may_come_from_a_generator_and_are_not_all_read_at_once(
    model: Model, image_files: list[Path], vectors: np.ndarray
) -> None:
    taken: list[int] = []

    def endless() -> Any:
        for number in range(10_000):
            taken.append(number)
            yield image_files[number] if number < 8 else b"broken"

    with pytest.raises(ImageError):
        model.embed_images(endless(), batch_size=2)
    assert len(taken) < 20
    assert near(model.embed_images(file for file in image_files), vectors)


def test_every_kind_of_image(model: Model, image_files: list[Path], vectors: np.ndarray) -> None:
    file = image_files[1]
    kinds = [file, str(file), file.read_bytes(), Image.open(file), np.asarray(Image.open(file))]
    assert near(model.embed_images(kinds), np.repeat(vectors[1:2], 5, axis=0))


def test_a_stack_of_arrays_is_a_list_of_pictures(model: Model, picture: Callable[..., Image.Image]) -> None:
    stack = np.stack([np.asarray(picture(20, 20, seed=n)) for n in range(3)])
    assert near(model.embed_images(stack), model.embed_images(list(stack)))
    assert model.embed_images(stack[:, :, :, 0]).shape == (3, model.dim)  # grey pictures, as digits come


def test_unreadable_pictures_are_noted_and_left_out(
    model: Model, image_files: list[Path], vectors: np.ndarray, tmp_path: Path
) -> None:
    mixed = [tmp_path / "gone.png", *image_files[:3], b"", image_files[3], np.zeros((2, 2), float)]
    for batch_size in (1, 2, 64):
        skipped: dict[int, ImageError] = {}
        found = model.embed_images(mixed, batch_size=batch_size, skipped=skipped)
        assert near(found, vectors[:4])
        assert sorted(skipped) == [0, 4, 6]
        assert skipped[0].source == str(tmp_path / "gone.png")
        assert skipped[4].reason == "the file is empty"
    nothing: dict[int, ImageError] = {}
    assert model.embed_images([b"", b""], skipped=nothing).shape == (0, model.dim)
    assert sorted(nothing) == [0, 1]


def test_pictures_come_batch_by_batch_with_their_positions(
    model: Model, image_files: list[Path], vectors: np.ndarray
) -> None:
    source = iter([b"", *image_files[:3], b"broken", b"", image_files[3]])
    batches = list(model.iter_images(source, batch_size=3))
    assert [batch.positions for batch in batches] == [[1, 2], [3], [6]]
    assert [sorted(batch.unreadable) for batch in batches] == [[0], [4, 5], []]
    assert batches[1].unreadable[5].reason == "the file is empty"
    assert near(np.concatenate([batch.vectors for batch in batches]), vectors[:4])


def test_a_source_without_end_is_read_a_few_batches_ahead(
    model: Model, image_files: list[Path], vectors: np.ndarray
) -> None:
    taken: list[int] = []

    def endless() -> Any:
        while True:
            taken.append(0)
            yield image_files[len(taken) % 8 - 1]

    batches = model.iter_images(endless(), batch_size=2)
    assert not taken
    for number in range(4):
        assert near(next(batches).vectors, vectors[2 * number : 2 * number + 2])
        assert len(taken) <= 2 * (number + 4)
    batches.close()


def test_an_unreadable_picture_raises_where_nobody_asks(model: Model, image_files: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        model.embed_images([image_files[0], tmp_path / "gone.png"])


def test_progress_counts_pictures(model: Model, image_files: list[Path]) -> None:
    seen: list[int] = []
    model.embed_images([*image_files, b""], batch_size=4, skipped={}, progress=seen.append)
    assert seen == [4, 8, 9]


@pytest.mark.parametrize(
    "single",
    [
        "one.png",
        b"bytes",
        Path("one.png"),
        Image.new("RGB", (4, 4)),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((8, 8), np.uint8),
    ],
    ids=lambda single: type(single).__name__,
)
def test_a_single_picture_is_not_taken_for_a_list(model: Model, single: Any) -> None:
    # A string would be taken for a list of letters, an array for a list of its rows.
    with pytest.raises(RequestError, match="images must be a list"):
        model.embed_images(single)


def test_a_single_text_is_not_taken_for_a_list(model: Model) -> None:
    with pytest.raises(RequestError, match="texts must be a list"):
        model.embed_texts("a dog")


@pytest.mark.parametrize("batch_size", [0, -3])
def test_a_batch_of_nothing_is_refused(model: Model, image_files: list[Path], batch_size: int) -> None:
    # Silently, it would give no vectors at all.
    with pytest.raises(RequestError, match=f"batch_size must be at least 1, not {batch_size}"):
        model.embed_images(image_files, batch_size=batch_size)
    with pytest.raises(RequestError, match="batch_size"):
        model.embed_texts(TEXTS, batch_size=batch_size)


def test_a_text_too_long_is_refused_or_cut(model: Model) -> None:
    long = "xqzj " * 40
    with pytest.raises(RequestError, match=r"'xqzj .*tokens; the model reads at most 14"):
        model.embed_texts(["a dog", long])
    room = model.contract.text.context - 2
    ids = model.tokenizer.engine.encode(long, add_special_tokens=False).ids[:room]
    cut = model.embed_texts(["a dog", long], truncate=True)
    assert near(cut[1:], model.embed_texts([model.tokenizer.engine.decode(ids).strip()]))


def test_bf16_is_close_to_fp32(checkpoint: Path, model: Model, image_files: list[Path]) -> None:
    half = sightword.load(checkpoint, device="cpu", precision="bf16")
    assert half.precision == "bf16"
    assert {weight.dtype for weight in half.model.image.parameters()} == {torch.bfloat16}
    assert half.model.log_scale.dtype == torch.float32
    for ours, exact in (
        (half.embed_images(image_files), model.embed_images(image_files)),
        (half.embed_texts(TEXTS), model.embed_texts(TEXTS)),
    ):
        assert ours.dtype == np.float32
        assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
        assert (ours * exact).sum(axis=1).min() > 0.999
        assert not np.array_equal(ours, exact)


def test_embedding_leaves_no_trace(model: Model, image_files: list[Path]) -> None:
    # Whoever trains in between finds gradients on and the mode as it was.
    assert torch.is_grad_enabled()
    model.embed_images(image_files[:1])
    assert torch.is_grad_enabled()
    assert not model.model.training
    assert math.isclose(model.scale, float(model.model.log_scale.detach().exp()))


@pytest.mark.parametrize("name", ["cuda:77", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(RequestError, match=f"the device '{name}' cannot be used here .*; try cpu"):
        find_device(name)


def test_texts_of_a_tower_that_sees_its_padding_are_never_trimmed(
    encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Size] = []
    spec = contract.text.model_copy(update={"pad_to_context": True})
    architecture = encoder.config
    assert isinstance(architecture.text, TextConfig)
    text = architecture.text.model_copy(update={"causal": False, "pool": "last", "context": spec.context})
    seeing = DualEncoder(architecture.model_copy(update={"text": text}))
    padded = Embedder(seeing, contract.model_copy(update={"text": spec}), Tokenizer(tokenizer.engine, spec), "cpu")
    encode = seeing.encode_text

    def watched(tokens: Tokens) -> torch.Tensor:
        seen.append(tokens.ids.shape)
        return encode(tokens)

    monkeypatch.setattr(seeing, "encode_text", watched)
    padded.embed_texts(["a red circle", "", "a star"], batch_size=2)
    assert seen == [(2, spec.context), (1, spec.context)]
