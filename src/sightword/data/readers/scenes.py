"""Scenes of emoji drawings, which are made when they are asked for, as tests: of segmentation, of questions with
options, of retrieval, and of what text towers make of denials."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from pydantic import Field

from sightword.config import Positive
from sightword.data.choices import Choices
from sightword.data.denials import Denials
from sightword.data.labelled import Captioned
from sightword.data.masked import Masked
from sightword.data.readers.base import Reader, Split

if TYPE_CHECKING:  # the scenes stand on readers of their own
    from sightword.data.scenes import Scenes, Sprites

Tested: TypeAlias = Literal["validation", "unseen-styles", "unseen-names", "unseen-combinations"]
LESSONS = 500  # scenes of training, from whose texts a probe of words learns


class EmojiScenes(Reader):
    """scenes: which split of the scenes. count: of them; labels: a picture, `other` among them; size: pixels a side;
    seed: another one makes other scenes."""

    kind: Literal["emoji_scenes"] = "emoji_scenes"
    scenes: Tested
    count: Positive = 60
    labels: Annotated[int, Field(ge=2)] = 20
    size: Positive = 128
    seed: int = 0

    def has(self, root: Path, split: Split) -> bool:
        return split == "test"

    def read(self, root: Path, split: Split, name: str) -> Masked:
        from sightword.data.scenes import Scenes, masked_scenes

        scenes = Scenes(_sprites(), self.scenes, self.count, self.size, self.seed)
        return replace(masked_scenes(scenes, self.labels), name=name, split=split)


class LanguageScenes(Reader):
    """What the tests of language share: scenes of a split, half of whose things were given another hue, so that a
    colour is not told by the name."""

    scenes: Tested
    count: Positive = 400
    size: Positive = 128
    seed: int = 0

    def has(self, root: Path, split: Split) -> bool:
        return split == "test"

    def _made(self) -> Scenes:
        return _scenes(self.scenes, self.count, self.size, self.seed)


class SceneQuestions(LanguageScenes):
    """asks: about what (`data.scenes.language.scene_choices`)."""

    kind: Literal["scene_questions"] = "scene_questions"
    asks: Literal["presence", "absence", "choice", "twins"]

    def read(self, root: Path, split: Split, name: str) -> Choices:
        from sightword.data.scenes.language import scene_choices

        return scene_choices(self._made(), _scenes("train", LESSONS, self.size, self.seed), self.asks, name, split)


class SceneCaptions(LanguageScenes):
    """tells: in which captions (`data.scenes.language.scene_captions`)."""

    kind: Literal["scene_captions"] = "scene_captions"
    tells: Literal["short", "long", "negated"]

    def read(self, root: Path, split: Split, name: str) -> Captioned:
        from sightword.data.scenes.language import scene_captions

        return scene_captions(self._made(), self.tells, name, split)


class SceneDenials(LanguageScenes):
    """Captions with their denials (`data.scenes.denials`)."""

    kind: Literal["scene_denials"] = "scene_denials"

    def read(self, root: Path, split: Split, name: str) -> Denials:
        from sightword.data.scenes.denials import scene_denials

        return scene_denials(self._made(), name, split)


@lru_cache(4)
def _scenes(split: Tested | Literal["train"], count: int, size: int, seed: int) -> Scenes:
    """The same object for the same scenes: what is made of them is remembered by it."""
    from sightword.data.scenes import Scenes

    return Scenes(_sprites(), split, count, size, seed, tint=0.5)


@lru_cache(1)
def _sprites() -> Sprites:
    from sightword.data.scenes import emoji_sprites

    return emoji_sprites()
