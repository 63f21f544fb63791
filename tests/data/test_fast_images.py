"""The fast way to a model's pixels gives nearly those of the contract, whatever the file."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightword.data.fast_images import prepare_fast, resize_with_pillow, resize_with_torch
from sightword.data.images import ImageSpec, open_reduced
from sightword.errors import ImageError

SIZES = [(400, 300), (401, 303), (299, 407), (803, 601), (701, 257), (260, 1299), (513, 514)]

RESIZES = (resize_with_torch, resize_with_pillow)

NEAR = 1.0  # grey levels, in the mean: of pictures with more fine detail than photographs have


@cache
def natural(width: int, height: int, seed: int = 0) -> Image.Image:
    """What a photograph has: contrast at every scale, and edges."""
    rng = np.random.default_rng(seed)
    values = np.zeros((height, width, 3), np.float32)
    for cells in (3, 6, 12, 24, 48, 96, 192):
        noise = rng.standard_normal((cells, cells, 1)) + 0.3 * rng.standard_normal((cells, cells, 3))
        for band in range(3):
            layer = Image.fromarray(noise[:, :, band].astype(np.float32))
            values[:, :, band] += np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC))
    picture = Image.fromarray(np.clip(values * 20 + 120, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.02, 0.2) * min(width, height)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(int(c) for c in rng.integers(0, 255, 3)))
    return picture


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **{"quality": 92} | options)
    return stream.getvalue()


def distance(spec: ImageSpec, image: Any) -> float:
    """Mean difference in grey levels, with the resize that is farther off."""
    exact = spec.prepare(image)
    differences: list[float] = []
    for resize in RESIZES:
        fast = prepare_fast(spec, resize, image)
        assert fast.shape == exact.shape
        assert fast.dtype == np.uint8
        differences.append(float(np.abs(fast.astype(int) - exact).mean()))
    return max(differences)


def shifted(spec: ImageSpec, image: Any) -> float:
    """What half a pixel of shift would make of the same picture, as a measure."""
    exact = spec.prepare(image).astype(float)
    return float(np.abs(exact[:, 1:] - exact[:, :-1]).mean()) / 2


@pytest.mark.parametrize("resize", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_reduced_jpeg_is_nearly_the_same(size: tuple[int, int], resize: Any) -> None:
    spec = ImageSpec(size=64, resize=resize, fill=9)
    data = jpeg(natural(*size))
    assert distance(spec, data) < min(NEAR, shifted(spec, data) / 4)


@pytest.mark.parametrize(
    "options", [{"progressive": True}, {"subsampling": 0}, {"quality": 60}], ids=["progressive", "4:4:4", "coarse"]
)
def test_every_kind_of_jpeg(options: dict[str, Any]) -> None:
    assert distance(ImageSpec(size=64), jpeg(natural(401, 303), **options)) < NEAR


@pytest.mark.parametrize("mode", ["L", "CMYK", "YCbCr"])
def test_every_mode_of_jpeg(mode: str) -> None:
    assert distance(ImageSpec(size=64), jpeg(natural(401, 303).convert(mode))) < NEAR


@pytest.mark.parametrize("orient", [True, False])
@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turned_jpeg_of_odd_size_does_not_shift(turn: int, orient: bool) -> None:
    # A reduced picture of an odd size ends in a part of a pixel: turned, it must not become the beginning.
    exif = Image.Exif()
    exif[0x0112] = turn
    spec = ImageSpec(size=64, orient=orient)
    data = jpeg(natural(401, 303), exif=exif)
    assert distance(spec, data) < NEAR


@pytest.mark.parametrize("told", [0, 9, 77])
def test_an_orientation_that_is_none_is_ignored(told: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = told
    assert distance(ImageSpec(size=64), jpeg(natural(401, 303), exif=exif)) < NEAR


def test_other_sources_differ_by_rounding_alone() -> None:
    picture = natural(401, 303)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    seen = picture.copy()
    for image in (picture, np.asarray(picture), stream.getvalue()):
        for filter_ in ("bicubic", "bilinear"):
            spec = ImageSpec(size=64, interpolation=filter_)
            difference = np.abs(prepare_fast(spec, resize_with_torch, image).astype(int) - spec.prepare(image))
            assert difference.max() <= 1
            assert difference.mean() < 0.02
            assert np.array_equal(prepare_fast(spec, resize_with_pillow, image), spec.prepare(image))
    assert picture == seen


def test_transparency_is_drawn_on_the_background() -> None:
    alpha = Image.linear_gradient("L").resize((401, 303))
    assert distance(ImageSpec(size=64, background=(200, 30, 90)), Image.merge("RGBA", (*[alpha] * 3, alpha))) < 0.02


@pytest.mark.parametrize("size", [(256, 256), (64, 1000), (300, 200), (64, 64), (1, 3000), (64, 5000), (9, 900)])
def test_small_pictures_and_strips_are_the_same_to_the_bit(size: tuple[int, int]) -> None:
    assert distance(ImageSpec(size=64), jpeg(natural(*size))) == 0


@pytest.mark.parametrize("size", [(64, 2000), (2000, 64), (600, 64)])
def test_what_has_its_size_already_is_only_cropped(size: tuple[int, int]) -> None:
    assert distance(ImageSpec(size=64), np.asarray(natural(*size))) == 0


def test_a_large_jpeg_is_decoded_small_and_an_open_image_is_left_alone(tmp_path: Any) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(jpeg(natural(803, 601)))
    reduced = open_reduced(file, lambda size, orientation: (100, 75))
    assert (reduced.picture.size, reduced.size) == ((101, 76), (803, 601))
    mine = Image.open(file)
    assert open_reduced(mine, lambda size, orientation: (100, 75)).picture.size == (803, 601)
    assert mine.size == (803, 601)


@pytest.mark.parametrize("keep", [0, 700, 20_000])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_damaged_file_is_an_image_error(keep: int) -> None:
    with pytest.raises(ImageError):
        prepare_fast(ImageSpec(size=64), resize_with_torch, jpeg(natural(803, 601))[:keep])


def test_geometry_follows_the_picture_as_it_stands_in_its_file() -> None:
    # White left of 701 of 1,402 columns: after the reduction to an odd number of columns the edge is where it was.
    values = np.full((903, 1402, 3), 30, np.uint8)
    values[:, :701] = 220
    spec = ImageSpec(size=64)
    exact = spec.prepare(jpeg(Image.fromarray(values)))
    for resize in RESIZES:
        fast = prepare_fast(spec, resize, jpeg(Image.fromarray(values)))
        assert np.abs(fast.astype(int) - exact).max() <= 3
        assert np.array_equal(fast.argmin(axis=1) > 32, exact.argmin(axis=1) > 32)
