"""`sightword embed`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Checkpoint, Device, Json, Precision


def embed(
    *source: Annotated[
        Path, Parameter(help="Folders, image files, Parquet tables (.parquet), WebDataset shards (.tar).", negative=())
    ],
    model: Checkpoint,
    out: Annotated[Path, Parameter(help="The folder of the vectors.")],
    image_column: Annotated[
        str | None, Parameter(help="Of tables: bytes or paths. In shards: the extension of the image.")
    ] = None,
    key_column: Annotated[str | None, Parameter(help="Of tables: what names an image.")] = None,
    part_size: Annotated[int, Parameter(help="Images of a part: what a killed job may have to do again.")] = 10_000,
    batch_size: Annotated[int, Parameter(help="Images that the model takes at a time.")] = 64,
    device: Device = "auto",
    precision: Precision = "fp32",
    ray: Annotated[str | None, Parameter(help="Use a Ray cluster: its address, auto, or local.")] = None,
    workers: Annotated[
        int | None, Parameter(help="Of the cluster: one a GPU otherwise, or one a machine where there is none.")
    ] = None,
    json: Json = None,
) -> int:
    """Turn pictures into vectors: OUT/part-*.parquet with `key`, `source` and `vector` (float16).

    A job that was killed goes on with the same command. Pictures that cannot be read are listed in OUT/skipped.jsonl;
    the exit code is 1 only where none could be read. Several GPUs of one machine share the work by themselves.

    Example: sightword embed photos/ --model runs/quickstart/model --out vectors
    """
    from sightword.cli.output import console, counting_progress, write_json
    from sightword.embedding.bulk import embed as embed_images

    with counting_progress("embedding") as progress:
        report = embed_images(
            source,
            model,
            out,
            image_column=image_column,
            key_column=key_column,
            part_size=part_size,
            batch_size=batch_size,
            device=device,
            precision=precision,
            ray=ray,
            workers=workers,
            progress=progress,
        )
    write_json(json, report.to_json())
    rate = f", {report.now:,} images in {report.seconds:.0f} s" if report.now else ", finished before"
    console.print(
        f"{report.embedded:,} vectors of {report.dim} ({report.precision}{rate}): {out}", soft_wrap=True, markup=False
    )
    if report.skipped:
        console.print(
            f"{report.skipped:,} of {report.images:,} images could not be read: {out / 'skipped.jsonl'}",
            soft_wrap=True,
            markup=False,
        )
    return report.exit_code
