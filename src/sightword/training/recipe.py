"""Recipes: one TOML page that says everything about a run."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, model_validator

from sightword.config import Config, Positive, parse, refuse_beside
from sightword.data.augment import Augment, Share
from sightword.data.images import Resample
from sightword.data.pairs import Kind
from sightword.errors import RequestError
from sightword.training.data_recipe import DataRecipe
from sightword.training.inversion_recipe import InversionTraining, check_inversion
from sightword.training.loss_recipe import COMPANIONS, LongRecipe, NegationRecipe, TeacherRecipe, Weight
from sightword.training.model_recipe import ModelRecipe, ScratchText, StartedModel, TunedText

EMOJI = "emoji"
SCALE = 1 / 0.07  # 1 / temperature at the start (CLIP, arXiv 2103.00020, section 2.5)
SIGMOID_SCALE = 10.0  # the same of SigLIP (arXiv 2303.15343, section 3.2)


class PixelRecipe(Config):
    """How pictures reach a new image tower (its size comes from the tower). A `model.start` brings its own way."""

    resize: Literal["shortest", "squash"] = "shortest"
    interpolation: Resample = "bicubic"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)


class TrainingRecipe(Config):
    """steps: optimizer steps. batch_size: pairs a step, of all ranks together. micro_batch: the most pairs that a rank
    differentiates at once: a larger share goes through the towers twice, in pieces of this size at most, with the
    gradients of the whole batch and the memory of a piece; 0 for no limit. checkpoint_blocks: keep only the input of
    each block, and compute the rest again for the gradients: less memory, about a third more time. compile: the
    towers go through torch's compiler before the first step, which can take minutes; meant for GPUs (docs/lab-notes.md
    has what it brought on a CPU). parallel: how
    several ranks hold the model: `ddp` whole on each; with `fsdp` each holds some rows of all weights, gradients and
    the optimizer's state, and a block is gathered when it is computed: memory for communication (FSDP2). The same
    steps, up to the order of sums; on one rank there is nothing to share, and both are the same. warmup: of the
    steps, with a linearly growing rate; a cosine to zero follows. optimizer: `adamw`; or `muon`, which moves matrices
    by orthogonal updates, and the rest by AdamW. lr, decay, betas, eps: of AdamW, the first two of Muon too; only
    matrices decay. clip: largest gradient norm, 0 for none. loss: `infonce` is CLIP's softmax over the batch, `sigmoid`
    is SigLIP's yes or no of each pair; not given, a `model.start` with a bias of the logits takes that. Others need
    companions of the pairs: `omni-neg` is Omni-NegCLIP's, about captions that deny what is there, and what is not, with
    the weights in [training.negation]; `con-clip` is InfoNCE with the first of these as hard negatives, and `negclip`
    with false captions in other words (`foils`). `long-clip` is Long-CLIP's, of long captions and short ones (of pairs
    without long ones, their texts and the first sentences of these), with the numbers in [training.long]. `lincir` (on
    texts) and `pic2word` (on pictures) train a `model.inversion`; `rtd` the text tower of a model that has one, on
    triplets of texts ([training.inversion] has the numbers of these three). positives: of InfoNCE,
    which texts are right for a picture: with `labels`, those of all pairs that share its label or its text (UniCL of
    Florence, arXiv 2111.11432); with `pairs` its own alone, as in CLIP. smoothing: of InfoNCE and of Long-CLIP's
    loss, the part of each target that is spread over all texts. patch_loss: of a dense model, the weight of a further
    loss, in which each patch of the image tower is named among all names of the training pictures. tag_loss: the weight
    of a further loss, in which each picture is named among all that the batch's pictures show, by its companions `tags`
    (objectives/tags.py). scale: 1 / temperature at the start, 1 / 0.07 for InfoNCE and 10 for sigmoid if not given (a
    `model.start` brings its own); scale_lr: its rate, as a share of the run's. bias: of the logits at the start, with
    sigmoid. layer_decay: each block of a tower learns by this factor slower than the one above it: of n stages (what
    embeds the input, then the blocks), stage k = 0 … n - 1 has the rate lr * layer_decay^(n - k), and the head lr
    (ULMFiT, arXiv 1801.06146, section 3.2; ELECTRA, arXiv 2003.10555). bank: hold each picture against the names of all
    training pairs, not only the batch's (free while the text encoder is locked, and only possible then). ema: averages
    the weights with this factor a step, and the average is the model; 0 for none. drop_patches: the share of each
    picture's patches that a step leaves out (a ViT only). sizes: pairs of pixels and share: the first steps see
    pictures of so many pixels a side, the steps that are left those of the tower's size. whole: the share of the steps,
    the last ones, that leave no patches out. precision: `auto` is bf16 on a GPU that has it; of the towers, and on a
    GPU with Triton of the products of the loss. `bf16` is for CPUs too, and fp32 on those without instructions for it.
    wise: shares of the tuned weights, the rest of each being the start's, which are tried on the held-out pairs (and
    the retention set) when all steps are done, say [0.0, 0.1, …, 1.0]; the best becomes the model, and its contract
    keeps the curve (WiSE-FT, arXiv 2109.01903); a new dense part has no start, and stays as it was tuned. every: steps
    between validations. keep: which weights become the model; `best` is chosen on the pairs held out.

    snapshot_every, snapshot_minutes: steps and minutes between snapshots, 0 for neither; with both 0, each validation
    is followed by one. The end always is. snapshots: how many are kept. on_full_disk: whether a run whose snapshot
    finds no room goes on with the one before (`continue`) or ends (`stop`).

    spike: a gradient norm above so many times the median of the last 100 steps is one; 0 looks for none. A loss or
    gradient that is not finite counts as a spike in any case. on_spike: `stop` ends the run and saves the batch for
    replay; `skip` leaves the batch out and names it in the log, ten in a row at most. trackers: where the numbers of
    the log go as well; each needs its package (pip install 'sightword[tensorboard]')."""

    steps: Positive
    batch_size: Positive
    micro_batch: Annotated[int, Field(ge=0)] = 0
    checkpoint_blocks: bool = False
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=0)] = 0
    decay: Annotated[float, Field(ge=0)] = 0.2
    optimizer: Literal["adamw", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    clip: Annotated[float, Field(ge=0)] = 1.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_patches: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sizes: tuple[tuple[Positive, Share], ...] = ()
    whole: Share = 0.1
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    loss: (
        Literal["infonce", "sigmoid", "omni-neg", "con-clip", "negclip", "long-clip", "lincir", "pic2word", "rtd"]
        | None
    ) = None
    negation: NegationRecipe | None = None
    long: LongRecipe | None = None
    inversion: InversionTraining | None = None
    positives: Literal["labels", "pairs"] = "labels"
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    patch_loss: Weight = 0.0
    tag_loss: Weight = 0.0
    bank: bool = False
    scale: Annotated[float, Field(ge=1, le=100)] | None = None
    scale_lr: float = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    bias: float = -10.0
    every: Positive = 200
    wise: tuple[Share, ...] = ()
    teacher: TeacherRecipe | None = None
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

    @model_validator(mode="after")
    def _smoothing_is_of_infonce(self) -> TrainingRecipe:
        if self.smoothing and self.loss not in (None, "infonce", "long-clip"):
            raise ValueError("`smoothing` is for loss = 'infonce' and 'long-clip' only")
        return self

    @model_validator(mode="after")
    def _positives_are_of_infonce(self) -> TrainingRecipe:
        if self.positives == "pairs" and (self.loss not in (None, "infonce") or self.bank):
            raise ValueError("`positives` = 'pairs' is for loss = 'infonce' only, and without a `bank`")
        return self

    @model_validator(mode="after")
    def _each_loss_has_its_own(self) -> TrainingRecipe:
        if self.negation not in (None, NegationRecipe()) and self.loss != "omni-neg":
            raise ValueError("[training.negation] is for loss = 'omni-neg' only")
        if self.long and self.loss != "long-clip":
            raise ValueError("[training.long] is for loss = 'long-clip' only")
        if self.bank and self.kinds:
            raise ValueError(f"`bank` does not go with loss = {self.loss!r}: leave it out")
        return self

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The companions of the pairs that the loss asks for."""
        if self.loss == "omni-neg":
            return (self.negation or NegationRecipe()).kinds
        return COMPANIONS.get(self.loss or "", ())

    @property
    def listed(self) -> tuple[Kind, ...]:
        """Those of which it asks for all that a pair has."""
        mcq = self.loss == "omni-neg" and self.negation is not None and self.negation.mcq
        return (*(("tags",) if self.tag_loss else ()), *(("mcq",) if mcq else ()))


class RetentionRecipe(Config):
    """What the model should not forget: pairs that no step trains on, whose loss and accuracy stand beside the task's
    in every validation of the log. source: `pairs` with `path`, their folder or table; or `emoji`, some of the
    benchmark's training drawings, for whoever has no pictures of his own at hand. names: what each picture is held
    against; the names of the pairs by default. templates: sentences that a name stands in. truth: what a picture should
    be named: by the `start`, as it named it (the pairs' own texts then do not matter), or by the `pairs`."""

    source: Literal["pairs", "emoji"] = "pairs"
    path: str | None = None
    names: tuple[str, ...] = ()
    templates: Annotated[tuple[str, ...], Field(min_length=1)] = ("{}",)
    truth: Literal["start", "pairs"] = "start"

    @model_validator(mode="after")
    def _path(self) -> RetentionRecipe:
        if (self.source == "pairs") != (self.path is not None):
            raise ValueError("`path` is needed with source = 'pairs', and only there")
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
    pixels: PixelRecipe | None = None
    augment: Augment = Augment()
    model: ModelRecipe
    training: TrainingRecipe
    retention: RetentionRecipe | None = None
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_new_towers(cls, values: Any) -> Any:
        """What a checkpoint to start from would bring is written out where there is none."""
        model, training = (values.get("model"), values.get("training")) if isinstance(values, Mapping) else (None, None)
        if not isinstance(model, Mapping) or "start" in model or not isinstance(training, Mapping):
            return values
        sigmoid = training.get("loss") == "sigmoid"
        defaults = {"loss": "infonce", "scale": SIGMOID_SCALE if sigmoid else SCALE}
        return {"pixels": {}, **values, "training": {**defaults, **training}}

    @model_validator(mode="before")
    @classmethod
    def _a_start_teaches_if_nobody_else(cls, values: Any) -> Any:
        model, training = (values.get("model"), values.get("training")) if isinstance(values, Mapping) else (None, None)
        teacher = training.get("teacher") if isinstance(training, Mapping) else None
        if not isinstance(training, Mapping) or not isinstance(teacher, Mapping):
            return values
        if not isinstance(model, Mapping) or "start" not in model:
            return values
        return {**values, "training": {**training, "teacher": {"name": model["start"], **teacher}}}

    @model_validator(mode="before")
    @classmethod
    def _scenes_have_captions(cls, values: Any) -> Any:
        """Unless it is their pixels that train."""
        model, data = (values.get("model"), values.get("data")) if isinstance(values, Mapping) else (None, None)
        if not isinstance(data, Mapping) or data.get("source") != "scenes":
            return values
        scenes = data.get("scenes", {})
        if not isinstance(scenes, Mapping) or (isinstance(model, Mapping) and model.get("dense") is not None):
            return values
        return {**values, "data": {**data, "scenes": {"texts": "short", **scenes}}}

    @model_validator(mode="after")
    def _dense_is_trained_on_masks(self) -> Recipe:
        dense = isinstance(self.model, StartedModel) and self.model.dense is not None
        if dense and (self.data.source != "scenes" or (self.data.scenes and self.data.scenes.texts)):
            raise ValueError("`model.dense` is trained on masks, which data.source = 'scenes' without `texts` has")
        if self.training.patch_loss and not (isinstance(self.model, StartedModel) and self.model.dense):
            raise ValueError("`training.patch_loss` names the patches of a `model.dense`: give both, or neither")
        if dense:
            training = self.training
            assert isinstance(self.model, StartedModel)
            assert self.model.dense is not None
            if training.patch_loss and not self.model.dense.patches:
                raise ValueError("`training.patch_loss` is for patches that have a share: set model.dense.patches")
            asked = {
                "retention": self.retention is not None,
                "augment.erase": self.augment.erase,
                "training.loss": training.loss,
                "training.bank": training.bank,
                "training.tag_loss": training.tag_loss,
                "training.teacher": training.teacher,
                "training.drop_patches": training.drop_patches,
                "training.sizes": training.sizes,
                "training.compile": training.compile,
                "training.parallel = 'fsdp'": training.parallel == "fsdp",
            }
            refuse_beside("`model.dense`", asked)
        return self

    @model_validator(mode="after")
    def _prefixes_tell_kinds_apart(self) -> Recipe:
        asked = isinstance(self.model.text, ScratchText | TunedText) and self.model.text.prefixes
        if asked and len({source.kind for source in self.data.sources}) < 2:
            raise ValueError("`model.text.prefixes` tell captions from labels: it needs [[data.sources]] of both kinds")
        return self

    @model_validator(mode="after")
    def _inversion_goes_with_the_rest(self) -> Recipe:
        check_inversion(self)
        return self

    @model_validator(mode="after")
    def _lanes_have_equal_rows(self) -> Recipe:
        if self.training.batch_size % self.data.lanes:
            raise ValueError(
                f"`training.batch_size` = {self.training.batch_size} is no multiple of `data.lanes` = {self.data.lanes}"
            )
        return self

    @model_validator(mode="after")
    def _held_out_pairs_are_watched(self) -> Recipe:
        for key, wanted in (("retention", self.retention is not None), ("training.wise", bool(self.training.wise))):
            if wanted and not self.data.validation:
                raise ValueError(f"`{key}` stands beside the pairs held out: it needs data.validation above 0")
        return self

    @model_validator(mode="after")
    def _start_brings_its_own(self) -> Recipe:
        if not isinstance(self.model, StartedModel):
            if self.training.wise:
                raise ValueError("`training.wise` goes back towards a start: it needs model.start")
            if self.retention and self.retention.truth == "start":
                raise ValueError("`retention.truth` is 'start': it needs model.start, or be 'pairs'")
        else:
            for key, given in (("pixels", self.pixels), ("training.scale", self.training.scale)):
                if given is not None:
                    raise ValueError(f"`{key}` is for new towers: model.start brings its own")
        return self


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
        "data.keep",
        "evaluation.plain",
        "evaluation.ensemble",
        "training.every",
        "training.snapshot_every",
        "training.snapshot_minutes",
        "training.snapshots",
        "training.on_full_disk",
        "training.spike",
        "training.on_spike",
        "training.teacher.cache",
        "model.image.vectors",
        "training.trackers",
        # The same gradients, up to the order in which they are summed.
        "training.micro_batch",
        "training.checkpoint_blocks",
        "training.parallel",
        # The same up to rounding; a run must be able to go on where nothing can be compiled.
        "training.compile",
    }
)
