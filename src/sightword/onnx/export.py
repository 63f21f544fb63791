"""Both towers as ONNX graphs, with a report that they stayed the same.

The graphs take what needs no further arithmetic: uint8 pixels, as they come from the decoder (the normalisation is in
the graph: a quarter of the bytes, and no mean to get wrong), and token ids with the lengths of the texts. They give
unit vectors. ONNX Runtime runs them against the model before the folder takes its place: one that computes something
else never appears.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim
from torch.onnx.errors import OnnxExporterError

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.convert import PARITY_LIMIT, random_texts
from sightword.checkpoints.families import find_family, load_folder
from sightword.checkpoints.hub import locate
from sightword.data.images import ImageSpec
from sightword.data.pairs import Tokens
from sightword.errors import RequestError, SightwordError
from sightword.files import refuse_existing, whole_folder
from sightword.onnx.record import (
    CONTRACT,
    IDS,
    IMAGE,
    LENGTHS,
    PIXELS,
    RECORD,
    TEXT,
    TOKENIZER,
    VECTORS,
    Difference,
    Record,
    TextLength,
)
from sightword.towers.dual import DualEncoder

OPSET = 20
# A protobuf file ends at 2 GB: larger towers keep their weights in a file beside the graph.
_INSIDE = 1_900_000_000
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_BATCHES = (1, 2, 7)


@dataclass(frozen=True, slots=True)
class Export:
    folder: Path
    record: Record

    def to_json(self) -> dict[str, Any]:
        return {"model": str(self.folder), **self.record.model_dump()}


class _ImageGraph(nn.Module):
    def __init__(self, model: DualEncoder, spec: ImageSpec) -> None:
        super().__init__()
        self.model, self.spec = model, spec

    def forward(self, pixels_BHW3: Tensor) -> Tensor:
        return self.model.encode_image(self.spec.normalise(pixels_BHW3.permute(0, 3, 1, 2)))


class _TextGraph(nn.Module):
    def __init__(self, model: DualEncoder) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids_BL: Tensor, lengths_B: Tensor) -> Tensor:
        return self.model.encode_text(Tokens(ids_BL, lengths_B))


def export_onnx(model: str | Path, out: str | Path, text_length: TextLength = "dynamic") -> Export:
    """Write the checkpoint `model`, a folder or a repository of the Hub, as ONNX graphs at `out`, which must not be
    there yet.

    text_length: `fixed` for runtimes that want every shape but the batch's known; for towers that see their padding it
    is always so. Raises RequestError where a package is missing, and SightwordError where a tower cannot be exported or
    its graph differs by more than PARITY_LIMIT; `out` is then not there.
    """
    check_packages()
    out = Path(out)
    refuse_existing(out)
    folder, origin = locate(model)
    encoder, contract, tokenizer = load_folder(folder, origin)
    if text_length == "fixed" or not contract.architecture.text.trims:
        text = contract.text.model_copy(update={"pad_to_context": True})
        contract = contract.model_copy(update={"text": text})
    with whole_folder(out) as temporary:
        graphs = _ImageGraph(encoder, contract.image).eval(), _TextGraph(encoder).eval()
        _write_graphs(*graphs, temporary, out, contract, tokenizer.vocabulary)
        difference = _parity(*graphs, temporary, out, contract, tokenizer.vocabulary)
        # Written so that NaN does not pass.
        if not (difference.image <= PARITY_LIMIT and difference.text <= PARITY_LIMIT):
            raise SightwordError(
                f"{out}: not written: in ONNX Runtime the model differs (pictures by {difference.image:.1e}, texts by "
                f"{difference.text:.1e}; at most {PARITY_LIMIT:.0e} is allowed)"
            )
        record = Record(
            source=find_family(folder),
            scale=float(encoder.scale.detach()),
            bias=None if encoder.logit_bias is None else float(encoder.logit_bias.detach()),
            text_length="fixed" if contract.text.pad_to_context else "dynamic",
            opset=OPSET,
            max_difference=difference,
            limit=PARITY_LIMIT,
            versions={package: version(package) for package in ("torch", *_PACKAGES)},
        )
        tokenizer.save(temporary / TOKENIZER)
        for name, values in ((CONTRACT, contract), (RECORD, record)):
            (temporary / name).write_text(values.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return Export(out, record)


def check_packages() -> None:
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        raise RequestError(f"exporting to ONNX needs {' and '.join(missing)}: pip install 'sightword[export]'")


def _write_graphs(
    image_graph: nn.Module, text_graph: nn.Module, folder: Path, out: Path, contract: Contract, vocabulary: int
) -> None:
    # Examples of other sizes than 1, which would be taken for a constant.
    size, context, batch = contract.image.size, contract.text.context, Dim("batch")
    pixels = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    _write(image_graph, {PIXELS: pixels}, [{0: batch}], folder / IMAGE, out)
    if contract.text.pad_to_context:
        width, axes = context, {0: batch}
    else:
        width, axes = context - 1, {0: batch, 1: Dim("length", max=context)}
    texts = random_texts(contract.text, vocabulary, 3, width)
    _write(text_graph, {IDS: texts.ids, LENGTHS: texts.lengths}, [axes, {0: batch}], folder / TEXT, out)


def _write(graph: nn.Module, inputs: dict[str, Tensor], dynamic: list[dict[int, Any]], path: Path, out: Path) -> None:
    """dynamic: of each input, the axes that are free."""
    try:
        with torch.no_grad(), warnings.catch_warnings():
            # Of the exporter's own insides. Whether the graph is right is measured.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=[VECTORS],
                opset_version=OPSET,
                dynamo=True,
                dynamic_shapes=tuple(dynamic),
                verbose=False,
            )
    except OnnxExporterError as failure:
        # The exporter's report runs over pages; what it could not do stands in the cause.
        reason = str(failure.__cause__ or failure).strip().splitlines()[0]
        raise SightwordError(f"{out}: not written: {path.name} cannot be exported to ONNX ({reason})") from None
    assert program is not None
    weights = sum(tensor.numel() * tensor.element_size() for tensor in graph.state_dict().values())
    program.save(path, external_data=weights > _INSIDE)


@torch.inference_mode()
def _parity(
    image_graph: nn.Module,
    text_graph: nn.Module,
    folder: Path,
    out: Path,
    contract: Contract,
    vocabulary: int,
) -> Difference:
    """The largest differences, over several sizes of batches and texts. The inputs are the same in every call."""
    generator = torch.Generator().manual_seed(0)
    size, context = contract.image.size, contract.text.context
    images = [{PIXELS: torch.randint(0, 256, (rows, size, size, 3), generator=generator).byte()} for rows in _BATCHES]
    widths = [context] if contract.text.pad_to_context else sorted({1, 2, context // 2, context})
    texts: list[dict[str, Tensor]] = []
    for rows in _BATCHES:
        for width in widths:
            tokens = random_texts(contract.text, vocabulary, rows, width, generator)
            texts.append({IDS: tokens.ids, LENGTHS: tokens.lengths})
    return Difference(
        image=_difference(image_graph, folder / IMAGE, images, out),
        text=_difference(text_graph, folder / TEXT, texts, out),
    )


def _difference(graph: nn.Module, path: Path, batches: list[dict[str, Tensor]], out: Path) -> float:
    import onnxruntime

    worst = 0.0
    try:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for batch in batches:
            found = session.run([VECTORS], {name: tensor.numpy() for name, tensor in batch.items()})[0]
            # np.maximum hands NaN on, which max() may drop.
            worst = float(np.maximum(worst, np.abs(found - graph(*batch.values()).numpy()).max()))
    except Exception as failure:  # ONNX Runtime has one class for each of its status codes, and no common one
        reason = str(failure).strip().splitlines()[0]
        raise SightwordError(f"{out}: not written: ONNX Runtime cannot run {path.name} ({reason})") from None
    return worst
