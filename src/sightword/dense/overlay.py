"""A picture under the colours of its mask, with a legend; and one with boxes."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sightword.dense.detection import Detection

_GOLDEN = 0.618033988749895  # hues so far apart, one after the other, are never near to each other for long
_LEGEND = 24  # labels
_WIDTH = 240  # pixels of the legend, at least
_ROW = 20  # pixels

Colours = NDArray[np.uint8]


def palette(count: int) -> Colours:
    """A colour for each label, uint8 [count, 3]; those of the first labels do not depend on how many there are."""
    made = [
        colorsys.hsv_to_rgb((at * _GOLDEN) % 1, (0.85, 0.55, 1.0)[at % 3], (0.95, 0.9, 0.65)[at % 3])
        for at in range(count)
    ]
    return np.round(np.array(made) * 255).astype(np.uint8)


def draw_overlay(
    picture: Image.Image,
    mask: NDArray[np.int16],
    labels: Sequence[str],
    shares: Sequence[tuple[str, float]],
    alpha: float,
) -> Image.Image:
    """shares: of the labels that are there, which are the legend."""
    colours = palette(len(labels))
    mixed = Image.blend(picture, Image.fromarray(colours[mask]), alpha)
    shown = [(tuple(colours[labels.index(label)].tolist()), f"{label}  {100 * share:.1f} %") for label, share in shares]
    if len(shown) > _LEGEND:
        shown = [*shown[: _LEGEND - 1], ((255, 255, 255), f"and {len(shown) - _LEGEND + 1} more")]
    font = ImageFont.load_default(size=13)
    widest = max(round(font.getlength(text)) for _, text in shown) + _ROW + 16
    width = max(picture.width, _WIDTH, min(widest, 2 * _WIDTH))
    columns = max(1, width // widest)
    rows = -(-len(shown) // columns)
    page = Image.new("RGB", (width, picture.height + rows * _ROW + 8), "white")
    page.paste(mixed, (0, 0))
    pen = ImageDraw.Draw(page)
    for at, (colour, text) in enumerate(shown):
        left, top = 4 + at % columns * widest, picture.height + 4 + at // columns * _ROW
        pen.rectangle((left, top + 3, left + 14, top + 17), fill=colour, outline=(90, 90, 90))
        pen.text((left + _ROW, top + 2), text, fill="black", font=font)
    return page


def draw_boxes(picture: Image.Image, boxes: Sequence[Detection], labels: Sequence[str]) -> Image.Image:
    """The picture with a frame around each box and its label and score; the best is drawn last, above the others."""
    colours = palette(len(labels))
    drawn = picture.copy()
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(size=13)
    width = max(1, round(min(picture.size) / 200))
    for one in reversed(boxes):
        colour = tuple(colours[labels.index(one.label)].tolist())
        left, top, right, bottom = one.box[0], one.box[1], one.box[0] + one.box[2] - 1, one.box[1] + one.box[3] - 1
        pen.rectangle((left, top, right, bottom), outline=colour, width=width)
        text = f"{one.label} {one.score:.2f}"
        # Above its box, or inside where the picture ends there.
        place = (left, top - _ROW + 4 if top >= _ROW - 4 else top)
        pen.rectangle(pen.textbbox(place, text, font=font), fill=colour)
        pen.text(place, text, fill="black" if sum(colour) > 380 else "white", font=font)
    return drawn
