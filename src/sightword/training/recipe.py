"""Recipes: one TOML page that says everything about a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, model_validator

from sightword.config import Config, Positive, PositiveFloat, parse
from sightword.data.augment import Augment, Share
from sightword.data.images import Resample
from sightword.errors import RequestError
from sightword.towers.backbone import BackboneConfig
from sightword.towers.layers import Activation
from sightword.towers.resnet import ResNetConfig
from sightword.towers.tower import Trainable
from sightword.towers.vit import ViTConfig

Templates = Annotated[tuple[str, ...], Field(min_length=1)]


class SourceRecipe(Config):
    """One source of a mixture. path: as in `data`. weight: its share of the training samples, relative to the others';
    without weights, each has as many as it has pairs. prefix: stands before each sentence of this source, so that the
    model can tell its captions from others'. templates: in place of the run's. classes: a file with the names of the
    classes, one a line, that its labels (`.cls`, `label`) number from 0."""

    path: str | tuple[str, ...]
    weight: PositiveFloat | None = None
    prefix: str = ""
    templates: Templates | None = None
    classes: str | None = None

    @model_validator(mode="after")
    def _prefix(self) -> SourceRecipe:
        if "{}" in self.prefix:
            raise ValueError("`prefix` holds {}, the place of the text: that belongs into `templates`")
        return self


class DataRecipe(Config):
    """source: `emoji` (the benchmark), `pairs` with `path`, or `mixture` with `sources`. path: a folder, a table, or
    shards (WebDataset .tar, Parquet with bytes): a folder of them, a pattern, `{00000..00099}.tar`, a URL, or a list.
    validation: share of the pairs held out of training, on which the run is watched and its best snapshot chosen.
    tones: adds the emoji's skin-tone variants. templates, first_text: which text of a pair is shown, and in which
    sentence."""

    source: Literal["emoji", "pairs", "mixture"]
    path: str | tuple[str, ...] | None = None
    sources: tuple[SourceRecipe, ...] = ()
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.02
    tones: bool = False
    templates: Templates = ("{}",)
    first_text: Share = 1.0
    workers: Annotated[int, Field(ge=0)] = 2

    @model_validator(mode="after")
    def _path(self) -> DataRecipe:
        if (self.source == "pairs") != (self.path is not None):
            raise ValueError("`path` is needed with source = 'pairs', and only there")
        if (self.source == "mixture") != bool(self.sources):
            raise ValueError("`sources` are needed with source = 'mixture', and only there: [[data.sources]] for each")
        if len({source.weight is None for source in self.sources}) > 1:
            raise ValueError("either all of the `sources` have a `weight`, or none")
        return self


class PixelRecipe(Config):
    """How pictures reach the image tower (its size comes from the tower)."""

    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Resample = "bicubic"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class PretrainedImage(BackboneConfig):
    """weights: a file, or `package:path` in an installed package. train: `all`, `head`, or the number of the
    backbone's last stages that train. lr: of the backbone, as a share of the run's. fit: begin with the projection that
    ridge regression of this strength finds from the pictures' features to their texts' vectors; 0 begins at random."""

    weights: str
    fit: Annotated[float, Field(ge=0)] = 0.0
    train: Trainable = "all"
    lr: float = 1.0


class ScratchText(Config):
    """A causal text Transformer with a tokenizer trained on the training texts."""

    kind: Literal["transformer"] = "transformer"
    vocabulary: Positive = 2048
    context: Positive = 32
    width: Positive
    layers: Positive
    heads: Positive
    activation: Activation = "quick_gelu"


class PretrainedText(Config):
    """folder: in the Hugging Face layout (config.json, model.safetensors, tokenizer.json), or `package:path`. train,
    lr: as for the image tower."""

    kind: Literal["encoder"] = "encoder"
    folder: str
    pooling: Literal["mean", "first"] = "mean"
    context: Positive = 32
    train: Trainable = "head"
    lr: float = 1.0


ImageRecipe = Annotated[ViTConfig | ResNetConfig | PretrainedImage, Field(discriminator="kind")]
TextRecipe = Annotated[ScratchText | PretrainedText, Field(discriminator="kind")]


class ModelRecipe(Config):
    embed_dim: Positive
    image: ImageRecipe
    text: TextRecipe


class TrainingRecipe(Config):
    """steps: optimizer steps. warmup: of them, with a linearly growing rate; a cosine to zero follows. lr, decay,
    betas, eps: of AdamW; only matrices decay. clip: largest gradient norm, 0 for none. scale: 1 / temperature at the
    start; scale_lr: its rate, as a share of the run's. bank: hold each picture against the names of all training pairs,
    not only the batch's (free while the text encoder is locked, and only possible then). ema:
    averages the weights with this factor a step, and the average is the model; 0 for none. drop_patches: the share of
    each picture's patches that a step leaves out (a ViT only). sizes: pairs of pixels and share: the first steps see
    pictures of so many pixels a side, the steps that are left those of the tower's size. whole: the share of the steps,
    the last ones, that leave no patches out. precision: `auto` is bf16 on a GPU that has it. every: steps between
    validations. keep: which weights become the model; `best` is chosen on the pairs held out.

    snapshot_every, snapshot_minutes: steps and minutes between snapshots, 0 for neither; with both 0, each validation
    is followed by one. The end always is. snapshots: how many are kept. on_full_disk: whether a run whose snapshot
    finds no room goes on with the one before (`continue`) or ends (`stop`).

    spike: a gradient norm above so many times the median of the last 100 steps is one; 0 looks for none. A loss or
    gradient that is not finite counts as a spike in any case. on_spike: `stop` ends the run and saves the batch for
    replay; `skip` leaves the batch out and names it in the log, ten in a row at most. trackers: where the numbers of
    the log go as well; each needs its package (pip install 'sightword[tensorboard]')."""

    steps: Positive
    batch_size: Positive
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Annotated[float, Field(ge=0)] = 0.2
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_patches: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sizes: tuple[tuple[Positive, Share], ...] = ()
    whole: Share = 0.1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    bank: bool = False
    scale: Annotated[float, Field(ge=1, le=100)] = 1 / 0.07
    scale_lr: float = 1.0
    every: Positive = 200
    keep: Literal["last", "best"] = "last"
    snapshot_every: Annotated[int, Field(ge=0)] = 0
    snapshot_minutes: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    snapshots: Positive = 2
    on_full_disk: Literal["continue", "stop"] = "continue"
    spike: Annotated[float, Field(ge=0)] = 0.0
    on_spike: Literal["stop", "skip"] = "stop"
    trackers: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = ()

    @model_validator(mode="after")
    def _shares(self) -> TrainingRecipe:
        if sum(share for _, share in self.sizes) > 1:
            raise ValueError("the shares of `sizes` are more than 1 together")
        return self


class EvaluationRecipe(Config):
    """The prompt sets that are measured side by side."""

    plain: tuple[str, ...] = ("{}",)
    ensemble: tuple[str, ...] = ("{}", "a photo of a {}.", "a drawing of a {}.", "a picture of a {}.")


class Recipe(Config):
    title: str
    seed: int = 0
    licence: str = "unknown"
    data: DataRecipe
    pixels: PixelRecipe = PixelRecipe()
    augment: Augment = Augment()
    model: ModelRecipe
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()


def read_recipe(path: str | Path, changes: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe. changes: `section.key=value` each, value as in TOML (a bare word is a string).

    Raises RequestError: for an unknown key with the nearest known one, for a wrong type with the key.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RequestError(f"{path}: no such recipe; the ones that come with Sightword are in recipes/") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as failure:
        raise RequestError(f"{path}: not readable as TOML ({failure})") from None
    for change in changes:
        _apply(values, change)
    return parse(Recipe, values, str(path))


def _apply(values: dict[str, Any], change: str) -> None:
    key, separator, text = change.partition("=")
    if not separator or not key.strip():
        raise RequestError(f"--set {change!r}: write section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if not isinstance(inner, dict):
            raise RequestError(f"--set {change!r}: {section!r} is no section")
        values = inner
    values[last] = value


def recipe_text(recipe: Recipe) -> str:
    """The resolved recipe as TOML, every default written out. Reading it gives an equal recipe."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


# What a run that goes on may have otherwise than when it began: none of it changes the order of the samples or the
# weights of a step. (What is done with a spike does, but only where the run would have ended.)
MAY_CHANGE = frozenset(
    {
        "title",
        "licence",
        "data.workers",
        "evaluation.plain",
        "evaluation.ensemble",
        "training.every",
        "training.snapshot_every",
        "training.snapshot_minutes",
        "training.snapshots",
        "training.on_full_disk",
        "training.spike",
        "training.on_spike",
        "training.trackers",
    }
)


def differences(one: Recipe, other: Recipe) -> dict[str, tuple[Any, Any]]:
    """By key, the two values where they differ; None where a recipe has no such key."""

    def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
        out: dict[str, Any] = {}
        for key, value in values.items():
            out |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
        return out

    left, right = flat(one.model_dump(mode="json")), flat(other.model_dump(mode="json"))
    keys = sorted(left.keys() | right.keys())
    return {key: (left.get(key), right.get(key)) for key in keys if left.get(key) != right.get(key)}
