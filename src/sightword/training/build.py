"""From a recipe to a model: towers, pretrained backbones, tokenizer and contract."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from sightword.checkpoints.contract import Contract
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import TextSpec, Tokenizer, read_engine, train_tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.files import find_resource
from sightword.towers.backbone import BackboneConfig, ImageBackbone, TextEncoder, TextEncoderConfig, load_backbone
from sightword.towers.bert import bert_config, from_huggingface
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.efficientnet import from_lite_pytorch
from sightword.towers.resnet import ResNetConfig
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig
from sightword.training.recipe import PretrainedImage, PretrainedText, Recipe, ScratchText


@dataclass(frozen=True)
class Built:
    model: DualEncoder
    tokenizer: Tokenizer
    contract: Contract


def build(recipe: Recipe, texts: Iterable[str]) -> Built:
    """Everything that a run starts from. texts: the training texts, for a tokenizer trained on them. The weights are
    drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    image, text = recipe.model.image, recipe.model.text
    text_folder = find_resource(text.folder) if isinstance(text, PretrainedText) else None
    text_config: TextConfig | TextEncoderConfig
    if isinstance(text, ScratchText):
        tokenizer = train_tokenizer(texts, text.vocabulary, text.context)
        text_config = TextConfig(
            vocabulary=tokenizer.vocabulary,
            **text.model_dump(exclude={"kind", "vocabulary"}),
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
            embed_dim=recipe.model.embed_dim,
            image=image_config,
            text=text_config,
            bias=recipe.training.loss == "sigmoid",
        )
        model = DualEncoder(architecture)
    except ValueError as failure:
        raise RequestError(f"the recipe's model cannot be built: {failure}") from None
    with torch.no_grad():
        model.log_scale.fill_(math.log(recipe.training.scale))
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
    spec = ImageSpec(size=image.image_size, **recipe.pixels.model_dump())
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
