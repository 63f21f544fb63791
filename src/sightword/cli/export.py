"""`sightword export`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightword.cli.options import Checkpoint, Json


def export(
    model: Checkpoint,
    out: Annotated[Path, Parameter(help="The new folder.")],
    *,
    to: Annotated[Literal["onnx"], Parameter(help="The format.")] = "onnx",
    text_length: Annotated[
        Literal["dynamic", "fixed"],
        Parameter(help="Texts padded to any length, or always to the model's whole context."),
    ] = "dynamic",
    json: Json = None,
) -> int:
    """Write both towers as graphs that run without torch, and report that they stayed the same.

    ONNX Runtime runs the graphs against the model on random inputs before the new folder takes its place. Where they
    differ by more than 1e-4, nothing is written.

    Example: sightword export runs/mine/model --to onnx mine-onnx
    """
    from sightword.cli.output import console, write_json
    from sightword.onnx.export import export_onnx

    made = export_onnx(model, out, text_length)
    write_json(json, made.to_json())
    difference = made.record.max_difference
    console.print(
        f"{made.record.source} → {to}: {made.folder} (opset {made.record.opset}, texts of {made.record.text_length} "
        f"length)\nlargest difference, in ONNX Runtime: pictures {difference.image:.1e}, texts {difference.text:.1e}",
        soft_wrap=True,
        markup=False,
    )
    return 0
