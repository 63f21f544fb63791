"""The `[data]` of a recipe: where its pairs come from, and which text of a pair is shown."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sightword.config import Config, Positive, PositiveFloat
from sightword.data.augment import Share
from sightword.data.pairs import DataKind
from sightword.data.scenes.pairs import Told
from sightword.training.inversion_recipe import TEXT_SOURCES

Templates = Annotated[tuple[str, ...], Field(min_length=1)]


class SourceRecipe(Config):
    """One source of a mixture. path: as in `data`. weight: its share of the training samples, relative to the others';
    without weights, each has as many as it has pairs. kind: what its texts are: `captions`, or `labels`, whose text is
    the name of their class (`.cls`, `label`; or their text), in the templates; for learned prefixes (`prefixes` in
    [model.text]). prefix: words before each sentence of this source, so that the model can tell its captions from
    others'. templates: in place of the run's. classes: a file with the names of the classes, one a line, that its
    labels number from 0."""

    path: str | tuple[str, ...]
    weight: PositiveFloat | None = None
    kind: DataKind = "captions"
    prefix: str = ""
    templates: Templates | None = None
    classes: str | None = None

    @model_validator(mode="after")
    def _prefix(self) -> SourceRecipe:
        if "{}" in self.prefix:
            raise ValueError("`prefix` holds {}, the place of the text: that belongs into `templates`")
        return self


class ScenesRecipe(Config):
    """Scenes of the benchmark's training vendors and names. count: how many different ones. size: pixels a side.
    texts: what is told of each: a `short` caption; with a `long` one as its companion; or `negation`, with captions
    that deny what is there and what is not, and false ones. `short` if not given, and nothing with a `model.dense`.
    labels: for a `model.dense`, that each picture is held against. tint: how often a thing has another hue than its
    own. things: from how many to how many of them a training scene shows (those that a run is watched on show 1 to 6,
    as those of the tests). names_held_out: the share of the names that no training scene shows; the run is watched on
    scenes of these, which stand in for names that are never seen."""

    count: Positive = 20_000
    size: Positive = 128
    texts: Told | None = None
    labels: Annotated[int, Field(ge=2)] = 20
    tint: Annotated[float, Field(ge=0, le=1)] = 0.2
    things: tuple[Positive, Positive] = (1, 6)
    names_held_out: Annotated[float, Field(ge=0, lt=1)] = 0.0


class DataRecipe(Config):
    """source: `emoji` (the benchmark), `pairs` with `path`, `mixture` with `sources`, or `scenes` (pictures composed of
    the emoji, with captions or the truth of each pixel), which [data.scenes] describes. Without pictures, `texts` (one
    a line, or a column of a table) and `triplets` (reference, change, target: columns of a table), for textual
    inversion; without a `path` those of scenes and of their edits. path: a folder, a table, or
    shards (WebDataset .tar, Parquet with bytes): a folder of them, a pattern, `{00000..00099}.tar`, a URL, or a list.
    validation: share of the pairs held out of training, on which the run is watched and its best snapshot chosen.
    apart: each batch is drawn from one source of a mixture, by the weights, so that no picture is held against texts of
    another source (arXiv 2206.01125). tones: adds the emoji's skin-tone variants. templates, first_text: which text of
    a pair is shown, and in which sentence. workers: threads that read ahead; with none, a batch is read between the
    steps. keep: decoded pictures stay in memory where all of them take so many MiB at most, on each rank; 0 keeps none.
    lanes: as many as there are ranks, or a multiple of it: each rank then fetches its own share of shards that are
    elsewhere, and not all of them (part of the order of the samples; batch_size is a multiple of it)."""

    source: Literal["emoji", "pairs", "mixture", "scenes", "texts", "triplets"]
    path: str | tuple[str, ...] | None = None
    sources: tuple[SourceRecipe, ...] = ()
    apart: bool = False
    scenes: ScenesRecipe | None = None
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.02
    tones: bool = False
    templates: Templates = ("{}",)
    first_text: Share = 1.0
    workers: Annotated[int, Field(ge=0)] = 2
    keep: Annotated[int, Field(ge=0)] = 512
    lanes: Positive = 1

    @model_validator(mode="after")
    def _path(self) -> DataRecipe:
        if (self.source == "pairs") != (self.path is not None) and self.source not in TEXT_SOURCES:
            raise ValueError("`path` is needed with source = 'pairs', and only there")
        if (self.source == "mixture") != bool(self.sources):
            raise ValueError("`sources` are needed with source = 'mixture', and only there: [[data.sources]] for each")
        of_scenes = self.source == "scenes" or (self.source in TEXT_SOURCES and not self.path)
        if self.scenes not in (None, ScenesRecipe()) and not of_scenes:
            raise ValueError("[data.scenes] is for source = 'scenes', and for 'texts' and 'triplets' without a `path`")
        if self.apart and self.source != "mixture":
            raise ValueError("`apart` keeps the sources of a mixture apart: it needs source = 'mixture'")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("either all of the `sources` have a `weight`, or none")
        return self
