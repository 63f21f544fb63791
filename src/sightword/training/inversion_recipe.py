"""What recipes of textual inversion say, and what goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from sightword.config import Config, PositiveFloat, refuse_beside
from sightword.training.model_recipe import StartedModel

if TYPE_CHECKING:
    from sightword.training.recipe import Recipe

PROJECTIONS = ("lincir", "pic2word")  # what trains the projection; `rtd` then trains the text tower
LOSSES = (*PROJECTIONS, "rtd")
TEXT_SOURCES = {"texts": "lincir", "triplets": "rtd"}  # the sources without pictures, and the loss that each is for


class InversionTraining(Config):
    """noise: with `lincir` and `rtd`, how much of it is added to a text's vector before a word is made of it, so that
    pictures' vectors will do as well: times u * n, u uniform from 0 to 1 for each text, n standard normal; 1 with
    `lincir` and 0.5 with `rtd`, as published, if not given. temperature: of `rtd`."""

    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    temperature: PositiveFloat = 0.07

    def noise_of(self, loss: str) -> float:
        return {"rtd": 0.5}.get(loss, 1.0) if self.noise is None else self.noise


def check_inversion(recipe: Recipe) -> None:
    """Raises ValueError, which pydantic reports, where parts of the recipe do not go together."""
    training, model, source = recipe.training, recipe.model, recipe.data.source
    loss = training.loss
    made = isinstance(model, StartedModel) and model.inversion is not None
    if made != (loss in PROJECTIONS):
        raise ValueError(
            "`model.inversion` is what training.loss = 'lincir' or 'pic2word' trains: give both, or neither"
        )
    if loss not in LOSSES:
        if training.inversion is not None:
            raise ValueError(f"[training.inversion] is of the losses {', '.join(LOSSES)}")
        if source in TEXT_SOURCES:
            raise ValueError(f"data.source = '{source}' is for training.loss = '{TEXT_SOURCES[source]}' only")
        return
    if not isinstance(model, StartedModel):
        raise ValueError(f"training.loss = '{loss}' trains what a checkpoint lacks: it needs model.start")
    if TEXT_SOURCES.get(source, loss) != loss:
        raise ValueError(f"data.source = '{source}' is for training.loss = '{TEXT_SOURCES[source]}' only")
    if loss == "rtd":
        if source != "triplets":
            raise ValueError("training.loss = 'rtd' learns from data.source = 'triplets'")
        if model.image.train != "none" or (model.lora and "image" in model.lora.towers):
            raise ValueError(
                "training.loss = 'rtd' trains the text tower alone: set model.image.train = 'none' (and "
                "model.lora.towers = ['text'])"
            )
    asked = {
        "model.dense": model.dense is not None,
        "model.lora": model.lora is not None and loss != "rtd",
        "training.wise": training.wise and loss != "rtd",
        "retention": recipe.retention is not None and loss != "rtd",
        "training.bank": training.bank,
        "training.teacher": training.teacher,
        "training.patch_loss": training.patch_loss,
        "training.tag_loss": training.tag_loss,
        "training.drop_patches": training.drop_patches,
        "training.sizes": training.sizes,
        "training.compile": training.compile,
        "training.parallel = 'fsdp'": training.parallel == "fsdp",
    }
    refuse_beside(f"training.loss = '{loss}'", asked)
