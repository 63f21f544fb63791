"""The pictures of a file that holds several: the frames of an animation (GIF, WebP, PNG) or of a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from sightword.data.images import open_image, readable
from sightword.data.pairs import is_image_file
from sightword.errors import ImageError, RequestError

VIDEO_SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm"})
_ANIMATIONS = ("GIF", "WEBP", "PNG")  # not TIFF, whose pictures are pages


def is_video_file(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def is_seen_file(path: Path) -> bool:
    """A picture, an animation or a video, by its suffix."""
    return is_image_file(path) or is_video_file(path)


def is_moving(path: Path) -> bool:
    """Whether a file holds frames, and not a single picture. Raises ImageError where it cannot be read, RequestError
    for a video where there is no PyAV."""
    if is_video_file(path):
        _find_av(path)
        return True
    with readable(path, str(path)), Image.open(path) as picture:
        return picture.format in _ANIMATIONS and getattr(picture, "n_frames", 1) > 1


def read_frames(path: Path) -> Iterator[Image.Image]:
    """RGB or RGBA, one at a time. Raises ImageError at the first that cannot be read."""
    return _of_video(path) if is_video_file(path) else _of_animation(path)


def _of_animation(path: Path) -> Iterator[Image.Image]:
    with readable(path, str(path)), Image.open(path) as picture:
        for number in range(getattr(picture, "n_frames", 1)):
            picture.seek(number)
            yield open_image(picture.copy())


def _of_video(path: Path) -> Iterator[Image.Image]:
    av = _find_av(path)
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ImageError(str(path), "has no video stream")
            for frame in container.decode(video=0):
                yield frame.to_image()
    except (av.error.FFmpegError, OSError) as failure:
        raise ImageError(str(path), f"the video is damaged or cut short ({failure})") from None


def _find_av(path: Path) -> Any:
    try:
        import av
    except ImportError:
        raise RequestError(f"{path}: videos are read with PyAV: pip install 'sightword[video]'") from None
    return av
