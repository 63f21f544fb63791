"""Pictures that stay in memory: the same batches to the bit, each file read once, no more memory than allowed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sightword.data import kept
from sightword.data.augment import Augment
from sightword.data.images import ImageSpec, flatten, open_image, read_size
from sightword.data.kept import KeptPictures, expected_bytes
from sightword.data.loader import Loader
from sightword.data.pairs import Pair, PairList
from sightword.data.sources import open_pairs
from sightword.data.tokenizer import Tokenizer
from sightword.errors import ImageError
from tests.data.shard_files import make_shards
from tests.data.test_loader import AUGMENT, same, take

Make = Callable[..., Image.Image]
SPEC = ImageSpec(size=24)


@pytest.fixture
def source(tmp_path: Path, picture: Make) -> PairList:
    """Of all modes and kinds, one that is turned, one that cannot be read, and two that need not be."""
    pairs = []
    for number, mode in enumerate(("RGB", "RGBA", "L", "P", "LA")):
        image = picture(60 + number, 50, seed=number, mode="RGBA" if mode == "LA" else "RGB")
        image.convert(mode).save(tmp_path / f"{number}.png")
        pairs.append(Pair(tmp_path / f"{number}.png", ("a red circle",), mode))
    exif = Image.Exif()
    exif[0x0112] = 6
    for size in ((50, 40), (640, 480)):  # of which crops reduce none, and some
        picture(*size).save(tmp_path / f"{size[0]}.jpg", exif=exif, icc_profile=b"x" * 9000)
        pairs.append(Pair(tmp_path / f"{size[0]}.jpg", ("a green square",), f"jpeg {size}"))
    (tmp_path / "broken.png").write_bytes((tmp_path / "0.png").read_bytes()[:90])
    pairs.append(Pair(tmp_path / "broken.png", ("broken",), "broken"))
    pairs.append(Pair((tmp_path / "1.png").read_bytes(), ("bytes",), "bytes"))
    pairs.append(Pair(picture(30, 30), ("here",), "picture"))
    pairs.append(Pair(np.asarray(picture(30, 30)), ("here",), "array"))
    return PairList(pairs)


@pytest.fixture
def loader(source: PairList, tokenizer: Tokenizer) -> Loader:
    return Loader(source, tokenizer, SPEC, AUGMENT, batch_size=5, seed=3)


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("crop", [(0.001, 1.3), (0.5, 1.0), (1.0, 1.0)])
@pytest.mark.parametrize("most", [1 << 30, 40_000])
def test_batches_are_the_same_to_the_bit(loader: Loader, workers: int, crop: tuple[float, float], most: int) -> None:
    loader = replace(loader, workers=workers, augment=replace_crop(crop))
    expected = take(loader, 40)
    store = KeptPictures(most, SPEC.orient)
    assert all(map(same, take(replace(loader, kept=store), 40), expected))
    assert all(map(same, take(replace(loader, kept=store), 40), expected))
    assert 0 < len(store) <= 8
    assert store.size <= most


def replace_crop(crop: tuple[float, float]) -> Augment:
    # Without a crop, nothing at all is done that would copy a picture, but for a patch painted over.
    return AUGMENT.model_copy(update={"crop": crop}) if crop != (1.0, 1.0) else Augment(erase=0.7)


def test_a_file_is_read_once_and_a_broken_one_each_time(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Any] = []

    def opening(image: Any, **options: Any) -> Image.Image:
        opened.append(image)
        return open_image(image, **options)

    monkeypatch.setattr(kept, "open_image", opening)
    pairs = [pair for pair in loader.source if isinstance(pair.image, Path) and pair.key != "jpeg (640, 480)"]
    # So large that no crop lets a decoder halve a picture.
    loader = replace(loader, source=PairList(pairs), spec=ImageSpec(size=32), batch_size=len(pairs), workers=0)
    assert loader.keep_pictures(1 << 20) > 0
    skipped = [batch.skipped for batch in take(loader, 20)]
    assert all([skip.key for skip in skips] == ["broken"] for skips in skipped)
    assert len(opened) == len(pairs) - 1 + 20
    assert loader.kept is not None
    before = loader.kept.size
    take(loader, 20)
    assert loader.kept.size == before  # flat
    for pair in pairs:
        Path(pair.image).unlink()  # type: ignore[arg-type]
    assert [len(batch) for batch in take(loader, 3)] == [len(pairs) - 1] * 3


def test_many_threads_keep_each_picture_once(loader: Loader) -> None:
    store = KeptPictures(1 << 30, SPEC.orient)
    frames = [AUGMENT.frame(SPEC, np.random.default_rng(n)) for n in range(400)]
    first = loader.source[0].image

    def ask(number: int) -> bytes:
        return store.open(0, first, frames[number].enough).tobytes()

    with ThreadPoolExecutor(8) as pool:
        assert {*pool.map(ask, range(400))} == {open_image(first).tobytes()}
    assert len(store) == 1
    assert store.size == 60 * 50 * 4 + 1024


def test_whether_all_will_fit_is_told_by_the_first(tmp_path: Path, loader: Loader, picture: Make) -> None:
    files = []
    for number in range(200):
        picture(40, 30, seed=number).save(tmp_path / f"n{number}.png")
        files.append(Pair(tmp_path / f"n{number}.png", ("x",), str(number)))
    loader = replace(loader, source=PairList(files), batch_size=8)
    all_of_them = 200 * (40 * 30 * 4 + 1024)
    assert replace(loader).keep_pictures(all_of_them - 1) == 0
    assert replace(loader).keep_pictures(0) == 0
    assert loader.kept is None
    assert loader.keep_pictures(all_of_them) == all_of_them
    take(loader, 30)
    assert loader.kept is not None
    assert (len(loader.kept), loader.kept.size) == (200, all_of_them)


def test_the_bytes_of_pictures_are_told_without_decoding_them(source: PairList, tmp_path: Path) -> None:
    assert read_size(source[6].image) == (640, 480)
    assert read_size(source[9].image) == read_size(source[10].image) == (30, 30)
    with pytest.raises(ImageError, match="no such file"):
        read_size(tmp_path / "none.png")
    assert expected_bytes([source[0].image, tmp_path / "none.png"], 10) == 10 * (60 * 50 * 4 + 2 * 1024) // 2
    assert expected_bytes([], 10) == 0


def test_pictures_of_shards_are_kept_as_well(tmp_path: Path, tokenizer: Tokenizer) -> None:
    source = open_pairs(str(make_shards(tmp_path)))
    loader = Loader(source, tokenizer, SPEC, AUGMENT, batch_size=4, seed=0)
    expected = take(loader, 12)
    assert loader.keep_pictures(1 << 20) > 0
    assert all(map(same, take(loader, 12), expected))
    assert loader.kept is not None
    assert len(loader.kept) == len(source)


def test_transparency_is_drawn_as_pillow_composes_it() -> None:
    """Every value on every other, at every opacity."""
    alpha, value = np.mgrid[:256, :256].astype(np.uint8)
    picture = Image.fromarray(np.stack([value, 255 - value, value, alpha], axis=-1))
    for level in range(256):
        ground = Image.new("RGBA", picture.size, (level, level, 255 - level, 255))
        expected = Image.alpha_composite(ground, picture).convert("RGB")
        assert flatten(picture, (level, level, 255 - level)).tobytes() == expected.tobytes()


def test_a_picture_that_stays_is_not_painted_over(picture: Make) -> None:
    original = picture(24, 24)
    before = original.tobytes()
    for number in range(20):
        Augment(erase=1.0)(original, SPEC, np.random.default_rng(number))
    assert original.tobytes() == before
