"""Augmentation: pure under a sample's random numbers, and each setting does what its name says."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec, flatten, open_image
from sightword.data.order import sample_rng

Make = Callable[..., Image.Image]
SPEC = ImageSpec(size=32)

SETTINGS: dict[str, Any] = {
    "crop": (0.3, 0.6),
    "aspect": 1.5,
    "rotate": 20.0,
    "flip": 1.0,
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 40.0,
    "grey": 1.0,
    "background": 1.0,
    "blur": 1.0,
    "erase": 1.0,
}


def apply(augment: Augment, picture: Image.Image, index: int = 0, spec: ImageSpec = SPEC) -> np.ndarray:
    return augment(picture, spec, sample_rng(0, 0, index))


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    mode=st.sampled_from(["RGB", "RGBA"]),
    low=st.floats(0.05, 1.5),
    index=st.integers(0, 1000),
    target=st.sampled_from([1, 7, 32]),
)
def test_output_is_uint8_of_the_right_size_and_pure(
    picture: Make, size: tuple[int, int], mode: str, low: float, index: int, target: int
) -> None:
    augment = Augment(**SETTINGS | {"crop": (low, 1.5), "flip": 0.5, "grey": 0.5})
    original = picture(*size, seed=index, mode=mode)
    before = original.tobytes()
    spec = ImageSpec(size=target)
    one, again = apply(augment, original, index, spec), apply(augment, original, index, spec)
    assert one.shape == (target, target, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, again)
    assert original.tobytes() == before


@pytest.mark.parametrize("size", [(32, 32), (57, 33), (20, 90), (1, 1)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_without_settings_a_picture_is_what_the_model_will_see_later(
    picture: Make, size: tuple[int, int], mode: str
) -> None:
    original = picture(*size, mode=mode)
    assert np.array_equal(apply(Augment(), original), np.asarray(SPEC.fit(flatten(original, SPEC.background))))


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_setting_changes_pixels_and_differs_by_sample(picture: Make, setting: str) -> None:
    original = picture(48, 40, mode="RGBA")
    augment = Augment(**{setting: SETTINGS[setting]})
    plain, first, second = apply(Augment(), original), apply(augment, original, 1), apply(augment, original, 2)
    assert not np.array_equal(plain, first)
    if setting not in ("flip", "grey"):  # these know one outcome
        assert not np.array_equal(first, second)


def test_a_crop_above_one_shrinks_the_picture_into_its_background() -> None:
    red = Image.new("RGB", (40, 40), (255, 0, 0))
    spec = ImageSpec(size=64, background=(0, 0, 255))
    result = apply(Augment(crop=(4.0, 4.0)), red, spec=spec)  # half as wide, half as high
    assert abs((result[:, :, 0] > 127).mean() - 0.25) < 0.03
    assert abs((result[:, :, 2] > 127).mean() - 0.75) < 0.03


def test_a_crop_below_one_shows_a_part(picture: Make) -> None:
    # A ramp from left to right: its span is the crop's side.
    ramp = np.repeat(np.linspace(0, 250, 101)[None, :, None], 101, axis=0).repeat(3, axis=2).astype(np.uint8)
    spec = ImageSpec(size=50, interpolation="bilinear")
    for index in range(5):
        result = apply(Augment(crop=(0.25, 0.25)), Image.fromarray(ramp), index, spec)
        assert abs(int(result[0, -1, 0]) - int(result[0, 0, 0]) - 125) < 8


def test_a_crop_of_a_photo_keeps_its_aspect_ratio() -> None:
    # A chequered wide picture: squashed, its squares would become upright bars.
    y, x = np.mgrid[:64, :160]
    board = (((x // 8 + y // 8) % 2) * 255).astype(np.uint8)
    result = apply(Augment(crop=(0.999, 0.999)), Image.fromarray(board).convert("RGB"), spec=ImageSpec(size=64))
    across, down = (np.abs(np.diff(result[:, :, 0].astype(int), axis=axis)).sum() for axis in (1, 0))
    assert 0.75 < across / down < 1.33  # squares that are cut at the edge count for one side only


def test_flip_mirrors(picture: Make) -> None:
    original = picture(32, 32)
    assert np.array_equal(apply(Augment(flip=1.0), original), np.asarray(original)[:, ::-1])
    flips = [not np.array_equal(apply(Augment(flip=0.3), original, n), np.asarray(original)) for n in range(200)]
    assert 35 < sum(flips) < 85  # five standard deviations around 60


def test_grey_stays_grey_under_hue_and_saturation(picture: Make) -> None:
    grey = picture(32, 32, mode="L").convert("RGB")
    result = apply(Augment(hue=180.0, saturation=1.0), grey).astype(int)
    assert np.abs(result - np.asarray(grey)).max() <= 1


@pytest.mark.parametrize("index", range(4))
def test_hue_turns_the_colour_and_keeps_the_lightness(index: int) -> None:
    # Weak colours, so that nothing is cut off at 0 or 255.
    colour = Image.new("RGB", (32, 32), (150, 120, 110))
    result = apply(Augment(hue=120.0), colour, index)[0, 0].astype(float)
    luma = np.array([0.299, 0.587, 0.114])
    assert abs(result @ luma - np.array([150, 120, 110]) @ luma) < 1.5

    def chroma(rgb: np.ndarray) -> complex:  # I + iQ of YIQ
        return complex(rgb @ [0.5959, -0.2746, -0.3213], rgb @ [0.2115, -0.5227, 0.3112])

    before, after = chroma(np.array([150.0, 120, 110])), chroma(result)
    assert abs(abs(after) - abs(before)) < 2
    turn = sample_rng(0, 0, index)
    turn.random()  # whether the background changes
    expected = turn.uniform(-1, 1, 4)[3] * 120
    assert abs((np.degrees(np.angle(after / before)) - expected + 180) % 360 - 180) < 5


def test_grey_gives_equal_channels_of_the_lightness(picture: Make) -> None:
    original = picture(32, 32)
    result = apply(Augment(grey=1.0), original).astype(int)
    assert (result == result[:, :, :1]).all()
    assert np.abs(result[:, :, 0] - np.asarray(original) @ [0.299, 0.587, 0.114]).max() <= 1


def test_brightness_and_contrast_stay_within_their_range() -> None:
    middle, light = Image.new("RGB", (32, 32), (128, 128, 128)), Image.new("RGB", (32, 32), (160, 160, 160))
    brightness = [int(apply(Augment(brightness=0.25), light, n)[0, 0, 0]) for n in range(60)]
    assert 119 <= min(brightness) < 130
    assert 190 < max(brightness) <= 201
    contrast = [int(apply(Augment(contrast=0.5), light, n)[0, 0, 0]) for n in range(60)]
    assert 143 <= min(contrast) < 148
    assert 172 < max(contrast) <= 177
    assert all(abs(int(apply(Augment(contrast=0.5), middle, n)[0, 0, 0]) - 128) <= 1 for n in range(10))


def test_a_background_is_drawn_under_transparency_alone(picture: Make) -> None:
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    grounds = {tuple(apply(Augment(background=1.0), clear, n)[5, 5].tolist()) for n in range(20)}
    assert len(grounds) > 15
    assert (apply(Augment(), clear) == 255).all()
    opaque = picture(32, 32)
    assert np.array_equal(apply(Augment(background=1.0), opaque), np.asarray(opaque))


def test_rotation_fills_its_corners_with_the_background() -> None:
    red = Image.new("RGB", (32, 32), (255, 0, 0))
    spec = ImageSpec(size=32, background=(0, 255, 0))
    results = [apply(Augment(rotate=45.0), red, n, spec) for n in range(20)]
    assert all(result[16, 16].tolist() == [255, 0, 0] for result in results)
    assert any(result[0, 0].tolist() == [0, 255, 0] for result in results)


def test_erase_paints_one_patch() -> None:
    black = Image.new("RGB", (64, 64), (0, 0, 0))
    for index in range(10):
        result = apply(Augment(erase=1.0), black, index, ImageSpec(size=64))
        painted = result.any(axis=2)
        share = painted.mean()
        assert 0.15**2 * 0.8 < share < 0.45**2
        assert len(np.unique(result[painted], axis=0)) == 1
    assert not np.asarray(black).any()  # the caller's picture stays as it was


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"brightness": -0.1},
        {"aspect": 0.5},
        {"crop": (0.0, 1.0)},
        {"crop": (0.9, 0.5)},
        {"crop": (-1.0, 1.0)},
        {"rotat": 5},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Augment(**wrong)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_photograph_is_cropped_fast_and_a_drawing_exactly(
    picture: Make, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    original, augment = picture(500, 400, mode=mode), Augment(crop=(0.5, 0.9), aspect=1.3)
    found = [apply(augment, original, index).astype(int) for index in range(5)]
    monkeypatch.setattr("sightword.data.augment.is_small", lambda size: True)
    exact = [apply(augment, original, index).astype(int) for index in range(5)]
    differences = [int(np.abs(one - other).max()) for one, other in zip(found, exact, strict=True)]
    # By the part of a pixel that crops are moved; of a smooth picture, that is a few levels.
    assert max(differences) <= (4 if mode == "RGB" else 0)
    assert (max(differences) > 0) == (mode == "RGB")


def test_a_jpeg_is_decoded_as_large_as_its_crop_needs(picture: Make) -> None:
    file = io.BytesIO()
    picture(640, 480).save(file, "JPEG", quality=95)
    spec = ImageSpec(size=100)
    for crop, width in (((0.9, 0.9), 160), ((0.3, 0.3), 320), ((0.05, 0.05), 640)):
        frame = Augment(crop=crop).frame(spec, sample_rng(0, 0, 0))
        reduced = open_image(file.getvalue(), enough=frame.enough)
        assert reduced.width == width
        one, whole = np.asarray(frame.cut(reduced)), np.asarray(frame.cut(open_image(file.getvalue())))
        assert int(np.abs(one.astype(int) - whole).mean()) <= 2
    assert open_image(file.getvalue(), enough=Augment().frame(spec, sample_rng(0, 0, 0)).enough).width == 320
