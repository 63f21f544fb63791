"""Scenes as pictures with a label at every pixel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from sightword.data.masked import Masked, MaskedPicture
from sightword.data.pairs import VOID
from sightword.data.scenes.scene import Scene, Scenes
from sightword.errors import RequestError

OTHER = "other"  # what the background is called


def masked_scenes(scenes: Scenes, labels: int = 20, ground: bool = True) -> Masked:
    """The scenes, each with so many labels: `other`, which is the background, the names that are there, and names of
    its split that are not, in an order drawn from the seed. Without the ground, `other` is left out of them and its
    pixels do not count, as the background of VOC-20 and Context-59 (SCLIP, arXiv 2312.01597). Raises
    RequestError where the split has too few names, or one that is `other`."""
    if OTHER in scenes.names:
        raise RequestError(
            f"{scenes.sprites.name}: a sprite is called {OTHER!r}, which is what the background is called"
        )
    least = scenes.things[1] + 1
    if not least <= labels <= len(scenes.names) + 1:
        raise RequestError(
            f"{labels} labels a picture: ask for {least} ({OTHER!r} and all that a scene may show) to "
            f"{len(scenes.names) + 1} (all names of the split {scenes.split!r})"
        )
    pictures = _Pictures(scenes, labels, ground)
    vocabulary = (OTHER, *scenes.names) if ground else tuple(scenes.names)
    return Masked(f"scenes/{scenes.sprites.name}", scenes.split, pictures, vocabulary)


class _Pictures(Sequence[MaskedPicture]):
    def __init__(self, scenes: Scenes, labels: int, ground: bool) -> None:
        self.scenes, self.labels, self.ground = scenes, labels, ground

    def __len__(self) -> int:
        return len(self.scenes)

    def __iter__(self) -> Iterator[MaskedPicture]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int, /) -> MaskedPicture:  # type: ignore[override]  # no slices
        scene = self.scenes[index]
        present = dict.fromkeys(thing.name for thing in scene.things)
        rng = self.scenes.generator(index, "labels")
        # Enough to fill the labels, however many of them are there.
        drawn = rng.choice(len(self.scenes.names), self.labels - 1, replace=False).tolist()
        absent = [name for place in drawn if (name := self.scenes.names[place]) not in present]
        chosen = [OTHER, *present, *absent][: self.labels]
        ordered = (chosen[place] for place in rng.permutation(len(chosen)).tolist())
        labels = tuple(label for label in ordered if self.ground or label != OTHER)
        return MaskedPicture(scene.key, scene.image, labels, partial(_mask, scene, labels))


def _mask(scene: Scene, labels: tuple[str, ...]) -> NDArray[np.int16]:
    names = (OTHER, *(thing.name for thing in scene.things))
    places = [labels.index(name) if name in labels else VOID for name in names]
    return np.array(places, np.int16)[scene.instances()]
