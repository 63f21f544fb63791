"""What a recipe says of losses that are more than one number: their weights, a teacher, what they ask of the pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, model_validator

from sightword.config import Config, Positive
from sightword.data.pairs import Kind

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]

# The companions of the pairs that a loss asks for. (What `omni-neg` asks for depends on its weights.)
COMPANIONS: Mapping[str, tuple[Kind, ...]] = {"negclip": ("foils",), "con-clip": ("denied",), "long-clip": ("long",)}


class TeacherRecipe(Config):
    """A model to learn from (see objectives/distillation). name: anything that `sightword.load` reads; the run's own
    start by default, so that what it knew stays. features: the weight of being near to its vectors. similarities: the
    weight of finding alike what it finds alike. task: the weight of the loss without it. cache: a folder for its
    vectors of the training pairs, which several runs can share; the run's own by default."""

    name: str
    features: Weight = 0.0
    similarities: Weight = 1.0
    task: Weight = 1.0
    cache: str | None = None

    @model_validator(mode="after")
    def _something_is_asked(self) -> TeacherRecipe:
        if not self.features and not self.similarities:
            raise ValueError("`features` and `similarities` are both 0: the teacher has nothing to say")
        return self


class NegationRecipe(Config):
    """Omni-NegCLIP's weights (objectives/negation.py); 0 leaves a term out. presence, stage2: of the loss about what is
    there and denied, and of that about what is absent and denied. pairwise: in the first, of each picture's choice
    between its caption and the denial. original, text: in the second, of the plain captions, and of the hinge that
    keeps a caption and its true denial apart by `margin`. choice, mcq: no part of the paper: of each picture's choice
    between what is true of it (its caption, an absence) and what is false (a denial, a foil), and of its choice of the
    true one among the options of its multiple-choice question."""

    presence: Weight = 1.0
    pairwise: Weight = 1.0
    stage2: Weight = 1.0
    original: Weight = 1.0
    text: Weight = 1.0
    margin: Annotated[float, Field(ge=-1, le=1)] = 0.9
    choice: Weight = 0.0
    mcq: Weight = 0.0

    @model_validator(mode="after")
    def _something_is_asked(self) -> NegationRecipe:
        if not any((self.presence, self.stage2, self.choice, self.mcq)):
            raise ValueError("`presence`, `stage2`, `choice` and `mcq` are all 0: nothing is left of the loss")
        return self

    @property
    def kinds(self) -> tuple[Kind, ...]:
        asked: dict[Kind, float] = {"denied": self.presence, "absent": self.stage2, "foils": 0.0}
        asked = {kind: weight + self.choice for kind, weight in asked.items()}
        return tuple(kind for kind, weight in asked.items() if weight)


class LongRecipe(Config):
    """Long-CLIP's loss (objectives/long_text.py). components: along which the pictures of a batch differ most; short
    captions are held against what the vectors are in these alone, which is everything unless a rank has more pictures
    than components + 1. short: the weight of the short captions' loss beside the long ones'."""

    components: Positive = 32
    short: Weight = 1.0
