"""Clips: what the masks of the frames do is what the caption says."""

from __future__ import annotations

import io
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from sightword.data.scenes import MOTIONS, Clip, Clips, Scenes, Sprites
from sightword.data.scenes.splits import held_out
from sightword.errors import RequestError

SIZE = 96


@pytest.fixture(scope="module")
def clips(sprites: Sprites) -> Clips:
    return Clips(Scenes(sprites, count=12, size=SIZE, seed=2))


@pytest.fixture(scope="module")
def made(sprites: Sprites) -> list[Clip]:
    """Five of each motion."""
    scenes = Scenes(sprites, count=5, size=SIZE, seed=2)
    return [clip for motion in MOTIONS for clip in Clips(scenes, motions=(motion,))]


def subject_masks(clip: Clip) -> list[np.ndarray]:
    """What is seen of what it happens to."""
    return [
        frame.instances() == subject + 1 if subject is not None else np.zeros((SIZE, SIZE), bool)
        for frame, subject in zip(clip.frames, clip.subjects, strict=True)
    ]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    rows, columns = np.nonzero(mask)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def rising(values: list[float]) -> bool:
    return all(one < other for one, other in pairwise(values))


def turned(mask: np.ndarray, degrees: int) -> np.ndarray:
    """By Pillow, about the middle of its box, which then lies in the middle of a larger picture."""
    left, top, right, bottom = box_of(mask)
    cut = Image.fromarray(mask[top:bottom, left:right].astype(np.uint8) * 255)
    large = Image.new("L", (2 * SIZE, 2 * SIZE))
    large.paste(cut, (SIZE - cut.width // 2, SIZE - cut.height // 2))
    return np.asarray(large.rotate(-degrees, Image.Resampling.BILINEAR)) >= 128


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_masks_move_as_the_caption_says(made: list[Clip]) -> None:
    assert Counter(clip.motion for clip in made) == dict.fromkeys(MOTIONS, 5)
    turns = Counter[bool]()
    for clip in made:
        masks = subject_masks(clip)
        areas = [int(mask.sum()) for mask in masks]
        there = [area > 0 for area in areas]
        assert len(clip.frames) == len(clip.subjects) == 8
        if clip.motion in ("appears", "disappears"):
            expected = sorted(there, reverse=clip.motion == "disappears")
            assert there == expected
            assert {True, False} == set(there)
            continue
        if clip.motion == "passes behind":
            shown = [frame.things[place].visible for frame, place in zip(clip.frames, clip.subjects, strict=True)]
            assert min(shown[1:-1]) <= 0.7 * min(shown[0], shown[-1])
            first, last = box_of(masks[0]), box_of(masks[-1])
            assert first[2] <= last[0] or last[2] <= first[0]
            continue
        assert all(there)
        boxes = [frame.things[place].box for frame, place in zip(clip.frames, clip.subjects, strict=True)]
        if clip.motion.startswith("moves"):
            side, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[clip.motion.split()[1]]
            places = [sign * float(np.nonzero(mask)[1 - side].mean()) for mask in masks]
            assert places[-1] - places[0] > 0.25 * SIZE
            assert rising([sign * box[side] for box in boxes])
        elif clip.motion in ("grows", "shrinks"):
            assert rising(areas if clip.motion == "grows" else areas[::-1])
            assert max(areas) > 1.8 * min(areas)
        else:
            # The shape of the first frame, turned by half of the way, is that of the middle ones.
            sign = 1 if clip.motion == "turns clockwise" else -1
            half = round(sign * 90 * 3 / 7)
            middle = turned(masks[3], 0)
            assert likeness(turned(masks[0], half), middle) > likeness(turned(masks[0], 0), middle)
            turns[likeness(turned(masks[0], half), middle) > likeness(turned(masks[0], -half), middle) - 0.05] += 1
    assert turns[True] > 5 * turns[False]  # what lies across may look the same both ways, and be partly hidden


def test_all_else_stays_as_it_is(made: list[Clip]) -> None:
    for clip in made:
        grounds = {frame.ground for frame in clip.frames}
        assert len(grounds) == 1
        others = [
            tuple(placed for place, placed in enumerate(frame.placed) if place != subject)
            for frame, subject in zip(clip.frames, clip.subjects, strict=True)
        ]
        assert len(set(others)) == 1
        pictures = [frame.image().tobytes() for frame in clip.frames]
        assert len(set(pictures)) == (2 if "appears" in clip.motion else 8)
        assert len({frame.key for frame in clip.frames}) == len(clip.frames)
        for frame in clip.frames:
            assert not held_out(frame.things)
            names = {word for thing in frame.things for word in thing.name.split()}
            assert all(names.isdisjoint(name.split()) for name in frame.absent)


def test_captions_name_what_moves(made: list[Clip]) -> None:
    for clip in made:
        subject, frame = next(
            (place, frame) for place, frame in zip(clip.subjects, clip.frames, strict=True) if place is not None
        )
        assert clip.caption == clip.captions[0]
        assert all(frame.things[subject].name in caption for caption in clip.captions)
        assert len(set(clip.captions)) == len(clip.captions)
    assert any(len(clip.captions) > 1 for clip in made)


def test_clips_depend_on_their_index_alone(sprites: Sprites, clips: Clips) -> None:
    more = Clips(Scenes(sprites, count=500, size=SIZE, seed=2))
    made = list(clips)
    for index in (11, 4):
        assert more[index] == made[index]
        assert more[index].encode() == made[index].encode()
    assert clips[-1] == made[-1]
    assert len({clip.motion for clip in made}) > 4


def test_animations_hold_every_pixel(made: list[Clip], tmp_path: Path) -> None:
    for clip in made[::5]:
        read = Image.open(io.BytesIO(clip.encode()))
        shown = []
        for picture in ImageSequence.Iterator(read):
            picture.load()
            # Frames that are the same became one that is shown for longer.
            shown += [picture.convert("RGB").tobytes()] * round(picture.info["duration"] / clip.milliseconds)
        assert shown == [frame.image().tobytes() for frame in clip.frames]
    made[0].save(tmp_path / "clip.gif")
    with Image.open(tmp_path / "clip.gif") as gif:
        assert gif.size == (SIZE, SIZE)
        assert gif.n_frames > 1  # type: ignore[attr-defined]
    with pytest.raises(RequestError, match=r"a clip is no \.mp4; there are: \.webp, \.gif"):
        made[0].save(tmp_path / "clip.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.gif"]


def test_what_cannot_be_asked_for(sprites: Sprites) -> None:
    scenes = Scenes(sprites, count=2, size=64)
    with pytest.raises(RequestError, match="no motion 'jumps'; there are: moves left"):
        Clips(scenes, motions=("jumps",))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no motions"):
        Clips(scenes, motions=())
    with pytest.raises(RequestError, match="3 frames: ask for 4 to 64"):
        Clips(scenes, frames=3)
    with pytest.raises(RequestError, match=r"no clips \(passes behind\) can be made"):
        Clips(Scenes(sprites, count=2, size=64, things=(1, 1)), motions=("passes behind",))[0]
    assert len(Clips(scenes, frames=5)[0].frames) == 5
