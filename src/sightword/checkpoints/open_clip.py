"""Repositories of open_clip: `open_clip_config.json`, `open_clip_model.safetensors` (or `open_clip_pytorch_model.bin`),
`tokenizer.json`.

Sources: model.py, coca_model.py, factory.py and transform.py of open_clip 3.3; the settings that a file leaves out have
the values that those give them. Known is what has open_clip's own text tower, and its own image towers (Vision
Transformer, ModifiedResNet) or timm's of SigLIP and SigLIP 2; in the layouts of names of all three classes: "CLIP" (as
OpenAI's files), "CustomTextCLIP" (custom_text) and "CoCa" (multimodal_cfg), of which the half that writes captions is
left out. That half cannot be written either: a CoCa is written as the CustomTextCLIP that it then is.

Texts are cleaned as there (open_clip_tokens). Done otherwise: pictures with a palette or with transparency are resized
there before they become RGB, and here after.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from torch import Tensor

from sightword.checkpoints.contract import Contract, check_contract, check_vocabulary
from sightword.checkpoints.open_clip_model_cfg import model_cfg
from sightword.checkpoints.open_clip_names import names_of
from sightword.checkpoints.open_clip_settings import read_settings
from sightword.checkpoints.open_clip_tokens import read_open_clip_tokenizer, write_open_clip_tokenizer
from sightword.checkpoints.renaming import to_ours, to_theirs
from sightword.checkpoints.tokens import is_largest
from sightword.checkpoints.vocabulary import TOKENIZER
from sightword.checkpoints.weights import (
    check_weights,
    empty_model,
    in_float32,
    read_json,
    read_pickled,
    read_safetensors,
    with_shape,
    write_json,
    write_safetensors,
)
from sightword.config import Config, parse
from sightword.data.images import ImageSpec
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError
from sightword.files import whole_folder
from sightword.towers.dual import DualEncoder

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
# In the order in which open_clip looks for them.
FILES = (WEIGHTS, "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
# The part of a CoCa that writes captions.
_CAPTIONS = "text_decoder"
# Scalars that OpenAI's archives carry beside the weights.
_DROPPED = frozenset({"input_resolution", "context_length", "vocab_size"})


class _Preprocess(Config):
    """Without `size`: open_clip takes the image tower's, whatever stands here."""

    model_config = ConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    mode: Literal["RGB"] = "RGB"
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0


def load_open_clip(folder: Path) -> tuple[DualEncoder, Contract, Tokenizer]:
    """Read a folder and check it whole. Raises CheckpointError.

    The model is in evaluation mode, in fp32, on the CPU.
    """
    config = folder / CONFIG
    values = read_json(config)
    model_values = values.get("model_cfg", values)
    if not isinstance(model_values, dict):
        raise CheckpointError(f"{config}: model_cfg holds no settings")
    told, architecture = read_settings(model_values, config)
    image_size = architecture.image.image_size
    preprocess = {k: v for k, v in (values.get("preprocess_cfg") or {}).items() if v is not None}
    image = parse(_Preprocess, preprocess, f"{config}: preprocess_cfg", CheckpointError)
    tokenizer = read_open_clip_tokenizer(folder, CONFIG, told.text_cfg, architecture.text.trims)
    contract = Contract(
        architecture=architecture,
        image=ImageSpec(
            size=image_size,
            resize=image.resize_mode,
            interpolation=image.interpolation,
            mean=image.mean,
            std=image.std,
            background=None,
            orient=False,
            fill=image.fill_color,
        ),
        text=tokenizer.spec,
        provenance={"family": "open_clip", **({} if told.multimodal_cfg is None else {"left_out": _CAPTIONS})},
    )
    check_contract(contract, config)
    check_vocabulary(contract, tokenizer, folder, (TOKENIZER, CONFIG))
    model = empty_model(architecture, config)
    path, weights = _weights(folder)
    if told.multimodal_cfg is not None:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith(f"{_CAPTIONS}.")}
    weights = with_shape(in_float32(weights), ("logit_scale", "logit_bias"), ())
    empty = model.state_dict()
    # The layout shows in the names; the flag only says by which class open_clip would read them.
    custom = any(name.startswith("text.") for name in weights)
    table = names_of(empty, custom)
    check_weights(weights, to_theirs(table, empty), path, CONFIG)
    model.load_state_dict(to_ours(table, weights), assign=True)
    return model.eval(), contract, tokenizer


def save_open_clip(folder: str | Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write a folder for open_clip's `local-dir:FOLDER`, whole; one that is there already is replaced.

    Raises RequestError for a model that open_clip's classes cannot express.
    """
    with whole_folder(Path(folder)) as temporary:
        write_open_clip(temporary, model, contract, tokenizer)


def write_open_clip(folder: Path, model: DualEncoder, contract: Contract, tokenizer: Tokenizer) -> None:
    """Write the files into a folder that is there."""
    trims = model.text.trims
    # Where the end of a text has the largest id, open_clip finds it so.
    eos_id = None if is_largest(tokenizer.engine, contract.text.end_id) else contract.text.end_id
    bias = None if model.logit_bias is None else float(model.logit_bias.detach())
    cfg = model_cfg(contract.architecture, bias, eos_id)
    cfg["text_cfg"] |= write_open_clip_tokenizer(folder, tokenizer, trims)
    settings = {
        "model_cfg": cfg,
        "preprocess_cfg": {
            "mean": list(contract.image.mean),
            "std": list(contract.image.std),
            "interpolation": contract.image.interpolation,
            "resize_mode": contract.image.resize,
            "fill_color": contract.image.fill,
        },
    }
    weights = {name: _whole(tensor.detach().cpu()) for name, tensor in model.state_dict().items()}
    write_safetensors(folder / WEIGHTS, to_theirs(names_of(weights, cfg["custom_text"]), weights))
    write_json(folder / CONFIG, settings)


def _whole(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    for name in FILES:
        path = folder / name
        if path.is_file():
            weights = read_pickled(path) if path.suffix == ".bin" else read_safetensors(path)
            return path, {key: tensor for key, tensor in weights.items() if key not in _DROPPED}
    raise CheckpointError(f"{folder}: lacks the weights: one of {', '.join(FILES)}")
