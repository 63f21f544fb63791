"""Contact sheets: scenes, edits and clips with their words, to be looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sightword.data.scenes.clips import Clips
from sightword.data.scenes.edits import Edits
from sightword.data.scenes.scene import Scenes
from sightword.data.scenes.texts import texts_of
from sightword.errors import RequestError
from sightword.files import whole_file

SHOWN = 24
_MARGIN, _LINE = 6, 13  # pixels
_WIDTH = 1200  # about that many, of the sheet
_LINES = 3  # of text below a picture
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def contact_sheet(made: Scenes | Edits | Clips, count: int = SHOWN) -> Image.Image:
    """The first ones: scenes with their short captions; edits as before, after and distractors in a row; clips as
    their frames."""
    strips = list(islice(_strips(made), count))
    cell = max(sum(picture.width + _MARGIN for picture in pictures) for pictures, _ in strips)
    cell = max(cell, 160)
    across = max(1, min(len(strips), _WIDTH // (cell + _MARGIN)))
    height = _size(made) + _LINES * _LINE + 2 * _MARGIN
    rows = -(-len(strips) // across)
    sheet = Image.new("RGB", (across * (cell + _MARGIN) + _MARGIN, rows * height + _MARGIN), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_LINE - 2)
    for number, (pictures, text) in enumerate(strips):
        left = _MARGIN + number % across * (cell + _MARGIN)
        top = _MARGIN + number // across * height
        place = left
        for picture in pictures:
            sheet.paste(picture, (place, top))
            place += picture.width + _MARGIN
        for line, words in enumerate(_wrapped(text, cell, font)[:_LINES]):
            draw.text((left, top + _size(made) + 2 + line * _LINE), words, _INK, font)
    return sheet


def write_sheet(made: Scenes | Edits | Clips, path: Path) -> None:
    """As a PNG. Raises SightwordError where it cannot be written."""
    with whole_file(path) as temporary:
        contact_sheet(made).save(temporary, "PNG")


def check_sheet(path: Path, out: Path) -> None:
    """Raise RequestError for a sheet that is no PNG, or that would lie among the shards, which then were no source."""
    if path.suffix.lower() != ".png":
        raise RequestError(f"{path}: a contact sheet is a PNG file: name one that ends in .png")
    if out.resolve() in path.resolve().parents:
        raise RequestError(f"{path}: lies in {out}, and shards with pictures beside them are no source: name another")


def _size(made: Scenes | Edits | Clips) -> int:
    return made.size if isinstance(made, Scenes) else made.scenes.size


def _strips(made: Scenes | Edits | Clips) -> Iterator[tuple[Sequence[Image.Image], str]]:
    if isinstance(made, Scenes):
        for index, scene in enumerate(made):
            yield [scene.image()], texts_of(made, index).short.text
    elif isinstance(made, Clips):
        for clip in made:
            yield [frame.image() for frame in clip.frames], clip.caption
    else:
        for edit in made:
            scenes = (edit.before, edit.after, *(wrong.scene for wrong in edit.distractors))
            whys = ", ".join(wrong.why for wrong in edit.distractors)
            yield [scene.image() for scene in scenes], f"{edit.instruction}   (before, after; {whys})"


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
