"""The pairs of a recipe: what trains, and what is held out to watch the run."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightword.data.composed import Composed
from sightword.data.emoji import EmojiBenchmark, read_emoji
from sightword.data.masked_pairs import MaskedPairs
from sightword.data.mixture import Mixture
from sightword.data.pairs import Kind, Pair, PairList, Pairs, Source, fraction_of, split
from sightword.data.scenes import ScenePairs, Scenes, Split, Sprites, composed_scenes, emoji_sprites, masked_scenes
from sightword.data.scenes.told import Captions, Triplets
from sightword.data.sources import open_pairs
from sightword.data.texts import TextPairs, read_texts, read_triplets
from sightword.errors import RequestError
from sightword.training.data_recipe import DataRecipe, ScenesRecipe, SourceRecipe
from sightword.training.inversion_recipe import TEXT_SOURCES

_TEXTS = 1_000_000  # pairs whose texts a tokenizer is trained on
SCENES = 1000  # the same of scenes: their texts are made from one grammar, and take long to make


@dataclass(frozen=True)
class TrainingData:
    """names: what a held-out picture is matched against. benchmark: where the source is one. composed: edits of scenes
    that a run of textual inversion is watched on, where it learns from texts of scenes."""

    train: Source
    validation: Pairs
    names: tuple[str, ...]
    benchmark: EmojiBenchmark | None = None
    composed: Composed | None = None


def read_data(recipe: DataRecipe) -> TrainingData:
    """Raises RequestError where nothing is left to train on."""
    if recipe.source == "emoji":
        benchmark = read_emoji()
        rest, held = split(benchmark.train, recipe.validation)
        extra = benchmark.tones.pairs if recipe.tones else ()
        unseen = set(benchmark.unseen)
        seen = tuple(name for name in benchmark.names if name not in unseen)
        return TrainingData(PairList([*rest, *extra]), tuple(held), seen, benchmark)
    if recipe.source == "mixture":
        halves = [_read(source.path, recipe.validation, source.classes) for source in recipe.sources]
        templates = [_sentences(source, recipe.templates) for source in recipe.sources]
        # Without weights, no pair comes more often than another.
        weights = tuple(
            source.weight or float(len(train)) for source, (train, _) in zip(recipe.sources, halves, strict=True)
        )
        kinds = [source.kind for source in recipe.sources]
        train: Source = Mixture([train for train, _ in halves], weights, templates, kinds, recipe.apart)
        held_out = Mixture([held for _, held in halves], weights, templates, kinds)
        return TrainingData(train, held_out, _names(held_out))
    if recipe.source == "scenes":
        return _scenes(recipe.scenes or ScenesRecipe(), recipe.validation)
    if recipe.source in TEXT_SOURCES:
        return _texts(recipe)
    assert recipe.path is not None
    train, pairs = _read(recipe.path, recipe.validation)
    return TrainingData(train, pairs, _names(pairs))


def _scenes(recipe: ScenesRecipe, share: float) -> TrainingData:
    """Held out are scenes of a `share` of their number: of names that no training scene shows, where the recipe holds
    names out, and otherwise of the same names."""
    sprites = emoji_sprites()
    kept_back = names_held_out(sprites, recipe.names_held_out)
    train = _composed(recipe, sprites.only(lambda name: name not in kept_back), "train", recipe.count)
    count = round(share * recipe.count)
    watched = sprites.only(lambda name: name in kept_back) if kept_back else sprites
    held: Source = _composed(recipe, watched, "validation", count) if count else PairList([])
    return TrainingData(train, held, _names(held) if recipe.texts else ())


def names_held_out(sprites: Sprites, share: float) -> set[str]:
    """The names of which a recipe with this `names_held_out` shows no drawing in training; a hash decides."""
    return {name for name in {sprite.name for sprite in sprites} if fraction_of(f"held out: {name}") < share}


def _texts(recipe: DataRecipe) -> TrainingData:
    """Of a path all of them train: there is no picture that a run could be watched on."""
    triplets = recipe.source == "triplets"
    if recipe.path is not None:
        if not isinstance(recipe.path, str):
            raise RequestError(f"data.path: {recipe.source} are in one file, not in {len(recipe.path)}")
        return TrainingData((read_triplets if triplets else read_texts)(recipe.path), PairList([]), ())
    asked = recipe.scenes or ScenesRecipe()
    sprites = emoji_sprites()
    scenes = Scenes(sprites, "train", asked.count, asked.size, things=asked.things, tint=asked.tint)
    told = f"{recipe.source} {asked.count} {asked.size} {scenes.seed} {scenes.things} {scenes.tint}".encode()
    texts = Triplets(scenes) if triplets else Captions(scenes)
    train = TextPairs(f"scenes/{recipe.source}", texts, hashlib.sha256(sprites.fingerprint + told).digest())
    count = round(recipe.validation * asked.count)
    watched = Scenes(sprites, "validation", count, asked.size, things=asked.things, tint=asked.tint) if count else None
    return TrainingData(train, PairList([]), (), composed=composed_scenes(watched) if watched else None)


def _composed(recipe: ScenesRecipe, sprites: Sprites, split: Split, count: int) -> Source:
    things = recipe.things if split == "train" else (1, 6)
    scenes = Scenes(sprites, split, count, recipe.size, things=things, tint=recipe.tint)
    if recipe.texts:
        return ScenePairs(scenes, recipe.texts)
    told = f"{split} {count} {recipe.size} {recipe.labels} {scenes.seed} {scenes.things} {scenes.tint}".encode()
    return MaskedPairs(masked_scenes(scenes, recipe.labels), hashlib.sha256(sprites.fingerprint + told).digest())


def _read(path: str | tuple[str, ...], validation: float, classes: str | None = None) -> tuple[Source, Source]:
    """What trains, and what is held out."""
    found = open_pairs(path, _lines(classes) if classes else ())
    rest, held = split(found, validation)
    if not len(rest):
        where = path if isinstance(path, str) else ", ".join(path)
        raise RequestError(f"{where}: data.validation = {validation} leaves no pair to train on")
    return rest, held


def _lines(file: str) -> list[str]:
    try:
        return [line.strip() for line in Path(file).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as failure:
        raise RequestError(f"{file}: the names of the classes are not readable ({failure})") from None


def _sentences(source: SourceRecipe, templates: Sequence[str]) -> tuple[str, ...]:
    return tuple(source.prefix + template for template in source.templates or templates)


def _names(pairs: Pairs) -> tuple[str, ...]:
    return tuple(sorted({pair.name for pair in pairs}))


def training_texts(pairs: Source, templates: Sequence[str], all_texts: bool, most: int | None = _TEXTS) -> list[str]:
    """All sentences that the pairs can be shown with, sorted; of more than `most` pairs, those of a part that is spread
    evenly. all_texts: not only the first text of each."""
    return sorted(
        {
            template.replace("{}", text)
            for pair in _some(pairs, most)
            for text in (pair.texts if all_texts else pair.texts[:1])
            for template in pair.templates or templates
        }
    )


def companion_texts(
    pairs: Source, kinds: Sequence[Kind], templates: Sequence[str], most: int = _TEXTS
) -> dict[Kind, list[str]]:
    """The same of their companions of these kinds."""
    found: dict[Kind, set[str]] = {kind: set() for kind in kinds}
    for pair in _some(pairs, most) if kinds else ():
        for kind, texts in found.items():
            for text in pair.companions.of(kind) if pair.companions else ():
                texts.update(template.replace("{}", text) for template in pair.templates or templates)
    return {kind: sorted(texts) for kind, texts in found.items()}


def _some(pairs: Source, most: int | None) -> Iterable[Pair]:
    step = 1 if most is None else -(-len(pairs) // most)
    return pairs if step <= 1 else map(pairs.__getitem__, range(0, len(pairs), step))
