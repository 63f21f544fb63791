"""Corruptions: they grow, they repeat, and they take any picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sightword
from sightword.data.corruptions import CORRUPTIONS, STRENGTHS, Corrupted, corrupt
from sightword.data.images import open_image
from sightword.errors import ImageError, RequestError
from tests.conftest import make_picture

KINDS = list(CORRUPTIONS)


def pixels(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(float)


def with_edges(picture: Image.Image) -> Image.Image:
    """With a dark box in it: waves alone are too smooth for a blur to show."""
    picture.paste((20, 60, 10), (picture.width // 4, picture.height // 3, picture.width // 2, picture.height // 2))
    return picture


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(224, 180), (64, 96)])
def test_a_higher_strength_changes_more(kind: str, size: tuple[int, int]):
    changes = []
    for strength in (0, *STRENGTHS):
        pairs = [(with_edges(make_picture(*size, seed=seed)), str(seed)) for seed in range(4)]
        changes.append(np.mean([np.abs(pixels(corrupt(p, kind, strength, k)) - pixels(p)).mean() for p, k in pairs]))
    assert changes[0] == 0
    assert np.all(np.diff(changes) >= 0), changes
    assert changes[5] > 1.5 * changes[1] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_key_gives_the_same_picture(kind: str):
    picture = make_picture(80, 60)
    first, again = (corrupt(picture, kind, 3, "a/1.png", seed=7) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.size == picture.size
    if kind not in ("gaussian blur", "pixelate", "jpeg", "contrast", "saturation"):  # which draw nothing
        others = [corrupt(picture, kind, 3, f"a/{n}.png", seed=s) for n, s in [(2, 7), (3, 7), (4, 7), (1, 8), (1, 9)]]
        assert any(np.any(np.asarray(first) != np.asarray(other)) for other in others)


@pytest.mark.parametrize("kind", KINDS)
def test_any_size_and_mode(kind: str):
    for picture in (
        make_picture(1, 1),
        make_picture(3, 500),
        make_picture(40, 30, mode="RGBA"),
        make_picture(40, 30, mode="L"),
        make_picture(40, 30).convert("P"),
        np.asarray(make_picture(40, 30)),
    ):
        size = picture.size if isinstance(picture, Image.Image) else (40, 30)
        worse = corrupt(picture, kind, 5, "key")
        assert worse.mode == "RGB"
        assert worse.size == size


def test_what_is_transparent_is_white_before():
    clear = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    np.testing.assert_array_equal(corrupt(clear, "jpeg", 0, ""), np.full((20, 20, 3), 255))
    assert pixels(corrupt(clear, "rotation", 5, "")).min() == 255  # the corners that come free are of the edge's colour


def test_large_pictures_are_brought_to_the_size_at_which_noise_counts():
    assert corrupt(make_picture(900, 450), "gaussian noise", 1, "").size == (448, 224)
    file = io.BytesIO()
    make_picture(900, 1200).save(file, "JPEG")
    assert corrupt(file.getvalue(), "hue", 0, "").size == (224, 299)


def test_strengths_of_noise_and_occlusion_are_what_they_say():
    grey = Image.new("RGB", (200, 200), (128, 128, 128))
    noise = pixels(corrupt(grey, "gaussian noise", 1, "")) - 128
    assert noise.std() == pytest.approx(0.08 * 255, rel=0.01)
    shot = pixels(corrupt(grey, "shot noise", 1, "")) - 128
    assert shot.std() == pytest.approx(255 * (128 / 255 / 60) ** 0.5, rel=0.02)
    black = Image.new("RGB", (200, 200))
    for strength, share in zip(STRENGTHS, (0.05, 0.1, 0.2, 0.3, 0.45), strict=True):
        covered = [(pixels(corrupt(black, "occlusion", strength, key)) > 0).mean() for key in "abcd"]
        assert covered == pytest.approx([share] * 4, rel=0.03)


def test_a_view_of_a_data_set_reads_nothing_until_it_is_opened(tmp_path: Path):
    make_picture(30, 20).save(tmp_path / "a.png")
    view = Corrupted([tmp_path / "a.png", tmp_path / "gone.png"], ["a", "gone"], "jpeg", 2)
    assert len(view) == 2
    assert str(view[0]) == f"{tmp_path / 'a.png'} (jpeg, strength 2)"
    np.testing.assert_array_equal(open_image(view[0]), corrupt(tmp_path / "a.png", "jpeg", 2, "a"))
    assert [image.key for image in view[:1]] == ["a"]
    assert [image.key for image in view] == ["a", "gone"]
    with pytest.raises(ImageError, match=r"gone\.png: no such file"):
        open_image(view[1])


def test_a_model_takes_a_view_as_it_takes_files(checkpoint: Path):
    model = sightword.load(checkpoint)
    pictures = [make_picture(50, 40, seed=seed) for seed in range(3)]
    worse = model.embed_images(Corrupted(pictures, list("abc"), "hue", 5))
    expected = model.embed_images(
        [corrupt(picture, "hue", 5, key) for picture, key in zip(pictures, "abc", strict=True)]
    )
    np.testing.assert_array_equal(worse, expected)
    clean = model.embed_images(Corrupted(pictures, list("abc"), "hue", 0))
    np.testing.assert_array_equal(clean, model.embed_images(pictures))
    assert np.abs(worse - clean).max() > 1e-3


@pytest.mark.parametrize(
    ("kind", "strength", "message"),
    [("fog", 1, "no corruption is called 'fog'; there are gaussian noise"), ("jpeg", 6, "strengths 1 to 5")],
)
def test_what_there_is_not(kind: str, strength: int, message: str):
    with pytest.raises(RequestError, match=message):
        Corrupted([], [], kind, strength)
    with pytest.raises(RequestError, match="2 pictures have 1 keys"):
        Corrupted([b"", b""], ["a"], "jpeg", 1)
