"""`segment` over files, folders, animations and videos."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightword.cli import run
from sightword.data.frames import read_frames

Picture = Callable[..., Image.Image]
LABELS = ("--labels", "a red circle|a green square", "woman's hat")


@pytest.fixture
def command(checkpoint: Path) -> Callable[..., int]:
    return lambda *arguments: run(["segment", *map(str, arguments), *LABELS, "--model", str(checkpoint)])


def animate(path: Path, picture: Picture, frames: int = 3) -> Path:
    first, *others = [picture(48, 40, seed=seed) for seed in range(frames)]
    first.save(path, save_all=True, append_images=others, **({"lossless": True} if path.suffix == ".webp" else {}))
    return path


def film(path: Path, picture: Picture, frames: int = 3) -> Path:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seed in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(picture(64, 48, seed=seed))))
        container.mux(stream.encode())
    return path


def test_a_picture(command: Callable[..., int], picture: Picture, tmp_path: Path) -> None:
    picture(60, 40).save(tmp_path / "a.png")
    outputs = ("--out", tmp_path / "out/mask.png", "--overlay", tmp_path / "seen.png", "--json", tmp_path / "a.json")
    assert command(tmp_path / "a.png", *outputs) == 0
    mask = np.asarray(Image.open(tmp_path / "out/mask.png"))
    assert mask.shape == (40, 60)
    assert Image.open(tmp_path / "seen.png").width >= 60
    values = json.loads((tmp_path / "a.json").read_text())
    assert set(values) == {"images", "labels", "skipped", "precision"}
    assert values["labels"] == ["a red circle", "woman's hat"]
    (image,) = values["images"]
    assert set(image) == {"image", "mask", "overlay", "size", "labels"}
    for one in image["labels"]:
        own = mask == values["labels"].index(one["label"])
        assert one["share"] == pytest.approx(own.mean())
        assert sum(one["rle"]["counts"][1::2]) == own.sum()


def test_a_folder_of_everything(command: Callable[..., int], picture: Picture, tmp_path: Path) -> None:
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    picture(40, 40).save(source / "a.png")
    picture(40, 40).save(source / "a.jpg")
    picture(30, 60).save(source / "deep/b.png")
    (source / "broken.jpg").write_bytes(b"no picture")
    animate(source / "c.gif", picture)
    animate(source / "d.webp", picture, 2)
    film(source / "e.mp4", picture)
    assert command(source, "--out", tmp_path / "masks", "--json", tmp_path / "all.json") == 1
    made = {path.relative_to(tmp_path / "masks").as_posix() for path in (tmp_path / "masks").rglob("*.png")}
    frames = {f"{name}/{number:06d}.png" for name, count in (("c", 3), ("d", 2), ("e", 3)) for number in range(count)}
    assert made == {"a.png.png", "a.jpg.png", "deep/b.png"} | frames
    values = json.loads((tmp_path / "all.json").read_text())
    assert [(Path(skip["image"]).name) for skip in values["skipped"]] == ["broken.jpg"]
    assert [image["frame"] for image in values["images"] if image["image"].endswith("c.gif")] == [0, 1, 2]


def test_frames_are_the_pictures_that_went_in(picture: Picture, tmp_path: Path) -> None:
    found = list(read_frames(animate(tmp_path / "d.webp", picture)))
    assert all(
        np.array_equal(np.asarray(frame), np.asarray(picture(48, 40, seed=at))) for at, frame in enumerate(found)
    )
    drawn = [np.asarray(frame, dtype=float) for frame in read_frames(film(tmp_path / "e.mp4", picture))]
    assert all(np.abs(frame - np.asarray(picture(64, 48, seed=at))).mean() < 12 for at, frame in enumerate(drawn))


def test_a_video_cut_short_leaves_what_came_before(
    command: Callable[..., int], picture: Picture, tmp_path: Path
) -> None:
    whole = film(tmp_path / "e.avi", picture, 9).read_bytes()
    (tmp_path / "e.avi").write_bytes(b"RIFF" + whole[4 : len(whole) // 20])
    assert command(tmp_path / "e.avi", "--out", tmp_path / "masks") == 2


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("a.png",), 2, "nowhere to write to"),
        (("--out", "m.png"), 2, "no images"),
        (("gone.png", "--out", "m.png"), 2, "no such file"),
        (("a.png", "b.png", "--out", "m.png"), 2, "is one file, and there are 2 pictures"),
        (("a.png", "--out", "m.jpg"), 2, "masks and overlays are PNG"),
        (("a.png", "--out", "a.png"), 2, "would be overwritten"),
        ((".", "--out", "."), 2, "would be overwritten"),
        (("a.png", "in/a.png", "--out", "masks"), 2, "2 pictures are called"),
        (("c.gif", "--out", "m.png"), 2, "has many frames"),
        (("a.png", "--out", "/proc/m.png"), 1, "cannot be written to"),
        (("a.png", "--out", "b.png/masks"), 1, "could not be made"),
        (("a.png", "--out", "m.png", "--threshold", "2"), 2, "between 0 and 1"),
    ],
)
def test_wrong_requests(
    command: Callable[..., int],
    picture: Picture,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png", "in/a.png"):
        picture(40, 40).save(tmp_path / name)
    before = (tmp_path / "a.png").read_bytes()
    animate(tmp_path / "c.gif", picture)
    assert command(*arguments) == code
    assert message in capsys.readouterr().err
    assert (tmp_path / "a.png").read_bytes() == before
    assert not (tmp_path / "m.png").exists()


def test_a_video_without_pyav(
    command: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "e.mp4").touch()
    assert command(tmp_path / "e.mp4", "--out", tmp_path / "masks") == 2
    assert "pip install 'sightword[video]'" in capsys.readouterr().err
