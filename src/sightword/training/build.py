"""From a recipe to a model: new towers, pretrained backbones, or a whole checkpoint; tokenizer and contract."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.source import UNKNOWN
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import TextSpec, Tokenizer, read_engine, train_tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import find_resource
from sightword.towers.backbone import BackboneConfig, ImageBackbone, TextEncoder, TextEncoderConfig, load_backbone
from sightword.towers.bert import bert_config, from_huggingface
from sightword.towers.dual import DualEncoder, DualEncoderConfig, make_dense, make_inversion
from sightword.towers.efficientnet import from_lite_pytorch
from sightword.towers.inversion import InversionConfig
from sightword.towers.lora import add_lora
from sightword.towers.lseg import LSegConfig
from sightword.towers.resnet import ResNetConfig
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig
from sightword.training.inversion_recipe import LOSSES
from sightword.training.model_recipe import (
    LoraRecipe,
    NewModel,
    PretrainedImage,
    PretrainedText,
    ScratchText,
    StartedModel,
)
from sightword.training.prefixes import prefixed
from sightword.training.recipe import SCALE, PixelRecipe, Recipe
from sightword.training.resizing import resized
from sightword.training.start import load_start
from sightword.training.stretching import stretched


@dataclass(frozen=True)
class Built:
    model: DualEncoder
    tokenizer: Tokenizer
    contract: Contract

    def origin(self) -> dict[str, str]:
        """The fingerprints of the checkpoints that the run needs again when it goes on: its start, its teacher."""
        said = self.contract.provenance
        return {key: said[key]["fingerprint"] for key in ("start", "teacher") if key in said}

    def check_origin(self, before: Mapping[str, str]) -> None:
        """Raises RequestError where one of them is not what it was."""
        for key, found in self.origin().items():
            if before.get(key) != found:
                raise RequestError(
                    f"{self.contract.provenance[key]['name']}: the {key} of this run is another model now than when it "
                    "began: bring that back, or choose another --out"
                )

    def saying(self, **origin: Any) -> Built:
        """With more in the provenance of the contract."""
        provenance = {**self.contract.provenance, **origin}
        return replace(self, contract=self.contract.model_copy(update={"provenance": provenance}))


def build(recipe: Recipe, texts: Iterable[str]) -> Built:
    """Everything that a run starts from. texts: the training texts, for a tokenizer trained on them. The weights are
    drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    if isinstance(recipe.model, StartedModel):
        return _from_checkpoint(recipe, recipe.model)
    return _new(recipe, recipe.model, texts)


def _from_checkpoint(recipe: Recipe, asked: StartedModel) -> Built:
    start = load_start(asked.start)
    read = start.contract.text.context
    told: dict[str, Any] = {"start": start.provenance()}
    if asked.stretch:
        start = stretched(start, asked.stretch)
        told["stretch"] = {"from": read, "to": start.contract.text.context, "keep": asked.stretch.keep}
    if asked.text.prefixes:
        start = prefixed(start)
    if asked.image.image_size:
        told["image_size"] = {"from": start.contract.image.size, "to": asked.image.image_size}
        start = resized(start, asked.image.image_size)
    start.model.image.lock(asked.image.train)
    start.model.text.lock(asked.text.train)
    for part, wanted in asked.text.parts.items():
        for parameter in start.model.text.part(part):
            parameter.requires_grad_(wanted)
    if asked.text.prefixes and not any(weight.requires_grad for weight in start.model.text.part("tokens")):
        raise RequestError("model.text.prefixes learn with the tokens, which are locked: set model.text.tokens = true")
    give_dense(start.model, asked.dense, asked.start)
    architecture = give_inversion(start.model, asked.inversion, recipe.training.loss, asked.start)
    if asked.lora:
        adapt(start.model, asked.lora)
    licence = start.contract.licence if recipe.licence == UNKNOWN else recipe.licence
    changes = {"architecture": architecture, "licence": licence, "provenance": {}}
    contract = start.contract.model_copy(update=changes)
    return Built(start.model, start.tokenizer, contract).saying(**told)


def give_dense(model: DualEncoder, asked: LSegConfig | None, where: str) -> DualEncoderConfig:
    """A new dense part, or none, in place of the one that there may be; gives what the model then is. With it, all that
    its loss does not reach is locked. where: begins the message. Raises RequestError for a tower that cannot have one.
    """
    model.config = model.config.model_copy(update={"dense": asked})
    try:
        model.dense = make_dense(model.config, model.image)
    except ValueError as failure:
        raise RequestError(f"{where}: {failure}") from None
    if model.dense is not None:
        reached = _reached(model)
        for name, parameter in model.named_parameters():
            if id(parameter) not in reached and not name.startswith("dense."):
                parameter.requires_grad_(False)
    return model.config


def give_inversion(
    model: DualEncoder, asked: InversionConfig | None, loss: str | None, where: str
) -> DualEncoderConfig:
    """A new projection that makes words of pictures, or none, in place of the one that there may be, which `rtd` keeps;
    gives what the model then is. With a loss of such words, all that it does not reach is locked. where: begins the
    message. Raises RequestError where there is no projection to keep."""
    if loss == "rtd" and model.inversion is None:
        raise RequestError(
            f"{where}: makes no words of pictures, which training.loss = 'rtd' begins with: train a projection first "
            "(recipes/composed.toml)"
        )
    if loss != "rtd":
        model.config = model.config.model_copy(update={"inversion": asked})
        model.inversion = make_inversion(model.config)
    if loss in LOSSES:
        learned = {
            id(parameter) for parameter in (model.text if loss == "rtd" else model.find_inversion()).parameters()
        }
        for parameter in model.parameters():
            if id(parameter) not in learned:
                parameter.requires_grad_(False)
    return model.config


def _reached(model: DualEncoder) -> set[int]:
    """The parameters that the vectors of pixels depend on, found by one look at an empty picture."""
    model.eval()
    side = model.config.image.image_size
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    dense, found = model.find_pixels(torch.zeros(1, 3, side, side))
    gradients = torch.autograd.grad(dense.vectors(found).sum(), weights, allow_unused=True)
    return {id(weight) for weight, gradient in zip(weights, gradients, strict=True) if gradient is not None}


def adapt(model: DualEncoder, asked: LoraRecipe) -> None:
    """Raises RequestError where a tower has none of the layers."""
    alpha = asked.rank if asked.alpha is None else asked.alpha
    for name, tower in (("image", model.image), ("text", model.text)):
        if name in asked.towers and not add_lora(tower, asked.layers, asked.rank, alpha):
            raise RequestError(
                f"model.lora: the {name} tower ({type(tower).__name__}) has no layer {' or '.join(asked.layers)}: name "
                "others in model.lora.layers, or the other tower in model.lora.towers"
            )


def _new(recipe: Recipe, asked: NewModel, texts: Iterable[str]) -> Built:
    image, text = asked.image, asked.text
    text_folder = find_resource(text.folder) if isinstance(text, PretrainedText) else None
    text_config: TextConfig | TextEncoderConfig
    if isinstance(text, ScratchText):
        tokenizer = train_tokenizer(texts, text.vocabulary, text.context)
        if text.prefixes:
            tokenizer = tokenizer.with_prefixes(tokenizer.vocabulary)
        text_config = TextConfig(
            vocabulary=tokenizer.vocabulary,
            **text.model_dump(exclude={"kind", "vocabulary", "prefixes"}),
        )
    else:
        assert text_folder is not None
        encoder = bert_config(_read_json(text_folder / "config.json"), text.pooling, str(text_folder))
        text_config = TextEncoderConfig(encoder=encoder, context=text.context)
        tokenizer = _bert_tokenizer(text_folder, text.context)
    image_config: ViTConfig | ResNetConfig | BackboneConfig
    if isinstance(image, PretrainedImage):
        image_config = BackboneConfig(name=image.name, image_size=image.image_size)
    else:
        image_config = image
    try:
        architecture = DualEncoderConfig(
            embed_dim=asked.embed_dim, image=image_config, text=text_config, bias=recipe.training.loss == "sigmoid"
        )
        model = DualEncoder(architecture)
    except ValueError as failure:
        raise RequestError(f"the recipe's model cannot be built: {failure}") from None
    with torch.no_grad():
        model.log_scale.fill_(math.log(recipe.training.scale or SCALE))
        if model.logit_bias is not None:
            model.logit_bias.fill_(recipe.training.bias)

    if isinstance(image, PretrainedImage):
        assert isinstance(model.image, ImageBackbone)
        path = find_resource(image.weights)
        load_backbone(model.image.backbone, _image_weights(path, image.name), str(path))
        model.image.lock(image.train)
    if isinstance(text, PretrainedText):
        assert isinstance(model.text, TextEncoder)
        assert text_folder is not None
        path = text_folder / "model.safetensors"
        weights = from_huggingface(_read_safetensors(path), len(model.text.backbone.blocks))
        load_backbone(model.text.backbone, weights, str(path))
        model.text.lock(text.train)
    spec = ImageSpec(size=image.image_size, **(recipe.pixels or PixelRecipe()).model_dump())
    contract = Contract(architecture=architecture, image=spec, text=tokenizer.spec, licence=recipe.licence)
    return Built(model, tokenizer, contract)


def _image_weights(path: Path, name: str) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        # weights_only: tensors are read, and no pickled code is run.
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError) as failure:
        reason = str(failure).splitlines()[0]
        raise CheckpointError(f"{path}: not a plain file of weights ({reason})") from None
    return from_lite_pytorch(weights) if name.startswith("efficientnet-lite") else weights


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as failure:
        raise CheckpointError(f"{path}: not a whole safetensors file ({failure})") from None


def _read_json(path: Path) -> dict[str, object]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as failure:
        raise CheckpointError(f"{path}: not readable as JSON ({failure})") from None


def _bert_tokenizer(folder: Path, context: int) -> Tokenizer:
    """The tokenizer of a Hugging Face folder, with the special tokens that its own post-processor adds."""
    engine = read_engine(folder / "tokenizer.json")
    padding = engine.padding
    engine.no_padding()
    engine.no_truncation()
    ids = engine.encode("a").ids
    inside = engine.encode("a", add_special_tokens=False).ids
    if len(ids) != len(inside) + 2 or ids[1:-1] != inside:
        raise CheckpointError(f"{folder / 'tokenizer.json'}: its texts do not begin and end with one special token")
    pad = padding["pad_id"] if padding else engine.token_to_id("[PAD]")
    spec = TextSpec(
        context=context,
        start_token=engine.id_to_token(ids[0]) or "",
        end_token=engine.id_to_token(ids[-1]) or "",
        start_id=ids[0],
        end_id=ids[-1],
        pad_id=0 if pad is None else pad,
    )
    return Tokenizer(engine, spec)
