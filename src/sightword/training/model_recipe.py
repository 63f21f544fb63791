"""The `[model]` of a recipe: two new towers, or a checkpoint to train on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from sightword.config import Config, Positive, PositiveFloat
from sightword.towers.backbone import BackboneConfig
from sightword.towers.inversion import InversionConfig
from sightword.towers.layers import Activation
from sightword.towers.lora import LoraLayer
from sightword.towers.lseg import LSegConfig
from sightword.towers.resnet import ResNetConfig
from sightword.towers.tower import Half, TextPart, Trainable
from sightword.towers.vit import ViTConfig


class PretrainedImage(BackboneConfig):
    """weights: a file, or `package:path` in an installed package. train: `all`, `head`, or the number of the
    backbone's last stages that train. lr: of the backbone, as a share of the run's. fit: begin with the projection that
    ridge regression of this strength finds from the pictures' features to their texts' vectors; 0 begins at random."""

    weights: str
    fit: Annotated[float, Field(ge=0)] = 0.0
    train: Trainable = "all"
    lr: float = 1.0


class ScratchText(Config):
    """A causal text Transformer with a tokenizer trained on the training texts. prefixes: behind its start, each text
    has a learned token that tells captions from names of classes, as the `kind` of its source says (prefix
    conditioning, arXiv 2206.01125); where the model is used, texts are read as captions."""

    kind: Literal["transformer"] = "transformer"
    vocabulary: Positive = 2048
    context: Positive = 32
    width: Positive
    layers: Positive
    heads: Positive
    activation: Activation = "quick_gelu"
    prefixes: bool = False


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


class NewModel(Config):
    """Two towers, each from nothing or around a pretrained backbone."""

    embed_dim: Positive
    image: ImageRecipe
    text: TextRecipe


Blocks = Annotated[str, Field(pattern=r"^\d+-\d+$")]


class TunedTower(Config):
    """train: `all` of the tower, only its `head` (the last norm, the pooling, the projection), the head and the last so
    many blocks (a number; of a ResNet, its stages), or `none`. Or some blocks and all that is no block: as many as half
    of them at the `front`, in the `middle` or at the `back`, or by number, `0-5`, both included. lr: of the tower, as a
    share of the run's."""

    train: Literal["all", "head", "none"] | Half | Annotated[int, Field(ge=0)] | Blocks = "all"
    lr: Annotated[float, Field(ge=0)] = 1.0


class TunedImage(TunedTower):
    """image_size: pixels a side of a picture, in place of the start's; learned positions are resampled. vectors: a
    folder for the vectors of the training pictures, which several runs of this start can share; in the run's own by
    default. They are kept where nothing of the tower trains (`none`), nothing is done to the pictures
    ([augment]), and there are more steps than it takes to see each once: no picture is then opened again."""

    image_size: Positive | None = None
    vectors: str | None = None


class TunedText(TunedTower):
    """tokens, positions, norm, projection: whether these train (the embeddings of tokens and of positions, the last
    norm, and what leads into the joint space), in place of what `train` says of them. (The temperature is of both
    towers: training.scale_lr = 0 leaves it as it is.) prefixes: learned tokens for the kinds of texts, as of new
    towers; they learn with the other tokens. A start that has them keeps them in any case."""

    tokens: bool | None = None
    positions: bool | None = None
    norm: bool | None = None
    projection: bool | None = None
    prefixes: bool = False

    @property
    def parts(self) -> dict[TextPart, bool]:
        """Those that something is said of."""
        said = ((part, getattr(self, part)) for part in get_args(TextPart))
        return {part: wanted for part, wanted in said if wanted is not None}


class LoraRecipe(Config):
    """Low-rank adapters (arXiv 2106.09685) beside the layers of both towers, or of one; what they learned is added to
    the weights of the finished model. rank: of each; alpha: their sum is scaled by alpha / rank, by 1 by default.
    layers: `qkv` and `out` of attention, `fc1` and `fc2` of the MLPs. (A ResNet has them in its attention pool.) The
    tower's own weights stay as they are; `train = "head"` lets its head learn beside them."""

    rank: Positive
    alpha: PositiveFloat | None = None
    layers: Annotated[tuple[LoraLayer, ...], Field(min_length=1)] = ("qkv", "out")
    towers: Annotated[tuple[Literal["image", "text"], ...], Field(min_length=1)] = ("image", "text")


class StretchRecipe(Config):
    """Longer texts than the start was made for, by stretching its position table (Long-CLIP, arXiv 2403.15378): the
    first `keep` positions stay as they are and do not train, the others are spread over `ratio` times their number, so
    that 77 become 248; or over all of `context` tokens. A context as long as it was only keeps the first positions.
    A BERT reads more of the positions that it has, and they train as its others."""

    keep: Annotated[int, Field(ge=0)] = 20
    ratio: Annotated[int, Field(ge=1)] | None = None
    context: Positive | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> StretchRecipe:
        if self.ratio is not None and self.context is not None:
            raise ValueError("`ratio` and `context` say the same in two ways: give one of them")
        return self


class StartedModel(Config):
    """start: a checkpoint to train on from, anything that `sightword.load` reads: a folder of any family, OpenAI's
    archive, a name of the Hub (`org/name`, `org/name@revision`). Architecture, tokenizer, the treatment of pictures and
    the temperature are the checkpoint's. image, text: what of each tower trains; all by default, beside LoRA none.
    stretch: read longer texts than the start does.
    dense: a new part that gives each pixel a vector (LSeg), on top of a Vision Transformer; the text tower is then left
    as it is. Without it, one that the start has is left out. inversion: a new projection that makes words of pictures,
    which training.loss = "lincir" or "pic2word" trains, and nothing else; without it, one that the start has is left
    out too, but for "rtd"."""

    start: str
    image: TunedImage = TunedImage()
    text: TunedText = TunedText()
    lora: LoraRecipe | None = None
    stretch: StretchRecipe | None = None
    dense: LSegConfig | None = None
    inversion: InversionConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _dense_leaves_the_texts_alone(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("dense") is not None:
            return {**values, "text": {"train": "none", **values.get("text", {})}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _inversion_leaves_both_alone(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("inversion") is not None:
            towers = {tower: {"train": "none", **values.get(tower, {})} for tower in ("image", "text")}
            return {**values, **towers}
        return values

    @model_validator(mode="before")
    @classmethod
    def _lora_leaves_the_rest_alone(cls, values: Any) -> Any:
        lora = values.get("lora") if isinstance(values, Mapping) else None
        if isinstance(lora, Mapping):
            adapted = lora.get("towers", LoraRecipe.model_fields["towers"].default)
            for tower in {"image", "text"}.intersection(adapted):
                values = {**values, tower: {"train": "none", **values.get(tower, {})}}
        return values

    @model_validator(mode="before")
    @classmethod
    def _builds_nothing(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            built = ["embed_dim"] * ("embed_dim" in values)
            for tower in ("image", "text"):
                given = values.get(tower)
                built += [f"{tower}.{key}" for key in given if key == "kind"] if isinstance(given, Mapping) else []
            if built:
                raise ValueError(
                    f"the towers come from model.start = {values['start']!r}: leave out what builds others "
                    f"({', '.join(f'model.{key}' for key in built)}, and what belongs to it)"
                )
        return values

    @model_validator(mode="after")
    def _something_trains(self) -> StartedModel:
        for name, tower in (("image", self.image), ("text", self.text)):
            if self.lora and name in self.lora.towers and tower.train not in ("none", "head"):
                raise ValueError(f"beside model.lora, model.{name}.train is 'none' or 'head', not {tower.train!r}")
        if self.dense and (self.lora or self.text.train != "none"):
            raise ValueError("with model.dense, no text trains: text.train is 'none', and there is no model.lora")
        if self.inversion and not self.image.train == self.text.train == "none":
            raise ValueError("with model.inversion, nothing else trains: image.train and text.train are 'none'")
        locked = self.image.train == self.text.train == "none" and not any(self.text.parts.values())
        if not any((self.lora, self.dense, self.inversion)) and locked:
            raise ValueError("image.train and text.train are both 'none': nothing is left to train")
        return self


def _kind(values: Any) -> str:
    started = "start" in values if isinstance(values, Mapping) else isinstance(values, StartedModel)
    return StartedModel.__name__ if started else NewModel.__name__


ModelRecipe: TypeAlias = Annotated[
    Annotated[NewModel, Tag("NewModel")] | Annotated[StartedModel, Tag("StartedModel")], Discriminator(_kind)
]
