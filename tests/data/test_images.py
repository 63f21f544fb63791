"""Every picture a user may hand over becomes uint8 RGB of the right size, or an ImageError that says what is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sightword.data.images import ImageSpec, flatten, open_image
from sightword.errors import ImageError, RequestError

Make = Callable[..., Image.Image]


def encode(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def solid(mode: str, colour: Any, size: tuple[int, int] = (8, 8)) -> Image.Image:
    return Image.new(mode, size, colour)


def pixel(source: Any, spec: ImageSpec | None = None) -> list[int]:
    """The pixel in the middle, prepared for a model."""
    spec = spec or ImageSpec(size=8)
    prepared = spec.prepare(source)
    assert prepared.shape == (spec.size, spec.size, 3)
    assert prepared.dtype == np.uint8
    return prepared[spec.size // 2, spec.size // 2].tolist()


# Files that are no pictures.


def bad_file(folder: Path, make: Make, case: str) -> Path:
    file = folder / f"{case}.png"
    match case:
        case "missing":
            pass
        case "empty":
            file.write_bytes(b"")
        case "truncated png":
            file.write_bytes(encode(make(64, 64), "PNG")[:1000])
        case "truncated jpeg":
            file.write_bytes(encode(make(64, 64), "JPEG")[:700])
        case "header only":
            file.write_bytes(encode(make(64, 64), "PNG")[:20])
        case "text":
            file.write_text("this is not a picture")
        case "directory":
            file.mkdir()
    return file


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("missing", "no such file"),
        ("empty", "empty"),
        ("truncated png", "cut short"),
        ("truncated jpeg", "cut short"),
        ("header only", ""),
        ("text", "not an image"),
        ("directory", "folder"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path: Path, picture: Make, case: str, reason: str) -> None:
    file = bad_file(tmp_path, picture, case)
    for source in (file, str(file)):
        with pytest.raises(ImageError) as caught:
            open_image(source)
        assert caught.value.source == str(file)
        assert reason in caught.value.reason
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code == 2
    if case not in ("missing", "directory"):
        with pytest.raises(ImageError, match=f"image of {file.stat().st_size:,} bytes"):
            open_image(file.read_bytes())


def test_an_image_bomb_is_refused(picture: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture(64, 64), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # 4,096 pixels are more than twice that
    with pytest.raises(ImageError, match=r"refused.*MAX_IMAGE_PIXELS"):
        open_image(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's own, about the damage
@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.05, 1),
)
def test_damage_anywhere_gives_a_picture_or_an_image_error(
    kind: str, damage: list[tuple[float, int]], keep: float
) -> None:
    # A run must not end because a decoder raised something unforeseen.
    data = bytearray(encode(Image.linear_gradient("L").resize((24, 16)).convert("RGB"), kind))
    for place, value in damage:
        data[int(place * len(data))] = value
    try:
        opened = open_image(bytes(data[: int(keep * len(data))]))
    except ImageError:
        return
    assert opened.mode in ("RGB", "RGBA")


@pytest.mark.parametrize(
    "values",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), bool),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 8, 8), np.uint8),  # channels first
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros(16, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=lambda values: f"{values.dtype}-{'x'.join(map(str, values.shape))}",
)
def test_an_array_of_another_kind_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"array of .*uint8|array of .*array must be"):
        open_image(values)


@pytest.mark.parametrize(
    "thing", [None, 3, torch.zeros(8, 8, 3, dtype=torch.uint8), ["a.png"]], ids=["None", "int", "tensor", "list"]
)
def test_what_is_no_image_at_all_is_an_image_error(thing: Any) -> None:
    with pytest.raises(ImageError, match=type(thing).__name__):
        open_image(thing)


# Pictures of every kind.


@pytest.mark.parametrize(
    ("shape", "expected"), [((8, 8), [7, 7, 7]), ((8, 8, 1), [7, 7, 7]), ((8, 8, 3), [7, 7, 7]), ((8, 8, 4), [248] * 3)]
)
def test_arrays_of_each_legal_shape(shape: tuple[int, ...], expected: list[int]) -> None:
    # With four channels the last is alpha: 7 of 255 of a dark grey on white is nearly white.
    assert pixel(np.full(shape, 7, np.uint8)) == expected


def test_a_view_of_an_array_reads_as_it_looks(picture: Make) -> None:
    values = np.asarray(picture(32, 32))
    assert np.array_equal(ImageSpec(size=32).prepare(values[::-1, ::-1]), values[::-1, ::-1])


def test_every_kind_of_source_gives_the_same_pixels(tmp_path: Path, picture: Make) -> None:
    original = picture(45, 30)
    file = tmp_path / "a.png"
    original.save(file)
    spec = ImageSpec(size=16)
    expected = spec.prepare(original)
    for source in (file, str(file), file.read_bytes(), np.asarray(original), Image.open(file)):
        assert np.array_equal(spec.prepare(source), expected)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 1)])
def test_extreme_shapes_keep_their_colour(size: tuple[int, int]) -> None:
    assert pixel(solid("RGB", (10, 200, 30), size), ImageSpec(size=24)) == [10, 200, 30]


def test_a_long_strip_shows_its_centre_and_takes_little_memory() -> None:
    # Brought to 224 pixels, the strip's long side would have 67 million of them: too slow, if not too large.
    strip = np.zeros((1, 300_000, 3), np.uint8)
    strip[:, 150_000:] = 255
    prepared = ImageSpec(size=224, interpolation="bilinear").prepare(strip)
    # The crop is one pixel of the strip wide, from the middle of the last black one to that of the first white one.
    ramp = prepared[0, :, 0].astype(int)
    assert ramp[0] <= 1
    assert ramp[-1] >= 254
    assert (np.diff(ramp) >= 0).all()


def test_cmyk_jpeg_and_tiff() -> None:
    red = solid("CMYK", (0, 255, 255, 0))
    assert pixel(encode(red, "TIFF")) == [255, 0, 0]
    assert np.allclose(pixel(encode(red, "JPEG", quality=95)), [255, 0, 0], atol=4)


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (257, 1), (0x8000, 128), (0x8080, 128), (65_535, 255)])
def test_sixteen_bit_grey_keeps_its_levels(level: int, expected: int) -> None:
    # Pillow's own convert("RGB") clips everything above 255 to white.
    data = encode(Image.fromarray(np.full((8, 8), level, np.uint16)), "PNG")
    assert pixel(data) == [expected] * 3


@pytest.mark.parametrize(
    ("values", "expected"), [([[0.0, 1.0]], [0, 255]), ([[0.0, 255.0]], [0, 255]), ([[0.0, 65535.0]], [0, 255])]
)
def test_floating_grey_is_scaled_by_its_range(values: list[list[float]], expected: list[int]) -> None:
    opened = open_image(encode(Image.fromarray(np.array(values, np.float32)), "TIFF"))
    assert np.asarray(opened)[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("mode", "colour"), [("1", 1), ("L", 255), ("P", 0), ("YCbCr", (255, 128, 128)), ("HSV", (0, 0, 255))]
)
def test_other_modes_become_rgb(mode: str, colour: Any) -> None:
    source = solid(mode, colour)
    if mode == "P":
        source.putpalette([255, 255, 255])
    assert pixel(source) == [255, 255, 255]


def transparent(kind: str) -> Image.Image:
    """Left half opaque black, right half wholly transparent (and black beneath)."""
    alpha = Image.new("L", (8, 8), 255)
    alpha.paste(0, (4, 0, 8, 8))
    rgba = Image.merge("RGBA", [Image.new("L", (8, 8))] * 3 + [alpha])
    if kind == "P":
        palette = Image.new("P", (8, 8), 0)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(1, (4, 0, 8, 8))
        return Image.open(io.BytesIO(encode(palette, "PNG", transparency=1)))
    if kind == "P bytes":  # one alpha for each entry of the palette, of which Pillow warns
        palette = Image.new("P", (8, 8), 0)
        palette.putpalette([0, 0, 0, 0, 0, 0])
        palette.paste(1, (4, 0, 8, 8))
        return Image.open(io.BytesIO(encode(palette, "PNG", transparency=b"\xff\x00")))
    return rgba.convert(kind)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "P bytes"])
@pytest.mark.filterwarnings("error")
def test_transparency_is_drawn_on_the_background(kind: str) -> None:
    prepared = ImageSpec(size=8).prepare(transparent(kind))
    assert prepared[4, 1].tolist() == [0, 0, 0]
    assert prepared[4, 6].tolist() == [255, 255, 255]
    assert ImageSpec(size=8, background=(9, 8, 7)).prepare(transparent(kind))[4, 6].tolist() == [9, 8, 7]
    assert ImageSpec(size=8, background=None).prepare(transparent(kind))[4, 6].tolist() == [0, 0, 0]


def test_half_transparency_is_mixed() -> None:
    assert pixel(solid("RGBA", (0, 100, 200, 128))) == [127, 177, 227]
    assert flatten(solid("RGB", (1, 2, 3)), (255, 255, 255)).getpixel((0, 0)) == (1, 2, 3)


def test_the_first_frame_stands_for_an_animation() -> None:
    frames = [solid("RGB", colour) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(data) == [255, 0, 0]


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_undone_or_left(turn: int) -> None:
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8, :8] = 255  # the white quarter is at the top left
    exif = Image.Exif()
    exif[0x0112] = turn
    # What a camera held in that way would have stored:
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[turn](upright)
    data = encode(Image.fromarray(np.ascontiguousarray(store)), "JPEG", exif=exif, quality=95)
    oriented = ImageSpec(size=16).prepare(data)
    left_alone = ImageSpec(size=16, orient=False).prepare(data)
    assert np.abs(oriented.astype(int) - upright).mean() < 4
    assert np.abs(left_alone.astype(int) - store).mean() < 4


# Geometry.

SIZES = [(32, 32), (33, 57), (57, 33), (31, 64), (640, 479), (479, 640), (100, 101), (15, 16), (7, 443), (32, 45)]


def reference(picture: Image.Image, n: int, filter_: Image.Resampling) -> np.ndarray:
    """The rule, written down once more: short side to n, long side truncated, offset rounded half to even."""
    width, height = picture.size
    size = (n, int(n * height / width)) if width < height else (int(n * width / height), n)
    values = np.asarray(picture if size == picture.size else picture.resize(size, filter_))
    top, left = (int(np.rint((side - n) / 2)) for side in values.shape[:2])
    return values[top : top + n, left : left + n]


@pytest.mark.parametrize("n", [32, 33])
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("filter_", ["bicubic", "bilinear"])
def test_short_side_then_centre_crop(picture: Make, size: tuple[int, int], n: int, filter_: Any) -> None:
    original = picture(*size, seed=3)
    fitted = ImageSpec(size=n, interpolation=filter_).fit(original)
    assert np.array_equal(np.asarray(fitted), reference(original, n, Image.Resampling[filter_.upper()]))


@pytest.mark.parametrize(
    "size", [(1, 71), (72, 1), (2, 301), (401, 3), (1, 2001)], ids=lambda size: f"{size[0]}x{size[1]}"
)
def test_a_strip_is_not_blown_up_and_still_follows_the_rule(size: tuple[int, int]) -> None:
    # Noise shows a shift best; at a middling contrast, because overshoot is cut off in another order than in the whole.
    values = np.random.default_rng(5).integers(90, 166, (size[1], size[0], 3), dtype=np.uint8)
    strip = Image.fromarray(values)
    fitted = np.asarray(ImageSpec(size=16).fit(strip))
    # Only the crop is computed; one level of rounding is allowed.
    assert np.abs(fitted.astype(int) - reference(strip, 16, Image.Resampling.BICUBIC)).max() <= 1


def test_squash_ignores_the_aspect_ratio(picture: Make) -> None:
    original = picture(57, 33)
    fitted = ImageSpec(size=16, resize="squash", interpolation="bilinear").fit(original)
    assert np.array_equal(np.asarray(fitted), np.asarray(original.resize((16, 16), Image.Resampling.BILINEAR)))


def test_normalise_brings_values_to_the_contract_s_mean_and_deviation() -> None:
    spec = ImageSpec(size=2, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.4))
    pixels = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 2, 2)
    normalised = spec.normalise(pixels)
    assert normalised.dtype == torch.float32
    assert normalised.shape == (2, 3, 2, 2)
    expected = [(0 - 0.5) / 0.1, (0.2 - 0.4) / 0.2, (1 - 0.3) / 0.4]
    assert torch.allclose(normalised[1, :, 1, 0], torch.tensor(expected), atol=1e-6)


def test_an_image_error_is_a_wrong_request() -> None:
    assert issubclass(ImageError, RequestError)


@pytest.mark.parametrize(
    ("size", "inner"), [((61, 45), (32, 24)), ((45, 61), (24, 32)), ((32, 32), (32, 32)), ((999, 1), (32, 1))]
)
def test_longest_pads_to_a_square(picture: Make, size: tuple[int, int], inner: tuple[int, int]) -> None:
    made = np.asarray(ImageSpec(size=32, resize="longest", fill=77).fit(picture(*size)))
    left, top = (32 - inner[0]) // 2, (32 - inner[1]) // 2
    inside = made[top : top + inner[1], left : left + inner[0]]
    assert np.array_equal(inside, np.asarray(picture(*size).resize(inner, Image.Resampling.BICUBIC)))
    outside = np.ones((32, 32), bool)
    outside[top : top + inner[1], left : left + inner[0]] = False
    assert (made[outside] == 77).all()


def test_half_a_pixel_goes_where_the_spec_says(picture: Make) -> None:
    # 35 wide for 32: the crop begins at 1.5, which is 2 by halves to even and 1 downwards.
    whole = np.asarray(picture(35, 32))
    assert np.array_equal(np.asarray(ImageSpec(size=32).fit(picture(35, 32))), whole[:, 2:34])
    assert np.array_equal(np.asarray(ImageSpec(size=32, offset="floor").fit(picture(35, 32))), whole[:, 1:33])
