"""`sightword segment`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import (
    Checkpoint,
    Device,
    Json,
    Names,
    Pictures,
    Precision,
    Rule,
    Sentences,
    Short,
    Step,
)
from sightword.errors import RequestError


def segment(
    *images: Pictures,
    labels: Names,
    model: Checkpoint = "runs/quickstart/model",
    out: Annotated[
        Path | None, Parameter(help="Of the masks: a file (mask.png), or a folder where there are several pictures.")
    ] = None,
    overlay: Annotated[
        Path | None, Parameter(help="The same for the pictures under their masks, with a legend.", negative=())
    ] = None,
    rule: Rule = None,
    templates: Sentences = None,
    threshold: Annotated[float | None, Parameter(help="Pixels with no score above it become other; 0 to 1.")] = None,
    refine: Annotated[bool, Parameter(help="Let the masks follow colours (PAMR); slow.", negative=())] = False,
    short: Short = None,
    step: Step = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = None,
) -> int:
    """Say which of the given labels each pixel shows best: masks as palette PNG.

    A picture that cannot be read is named and passed over; the exit code is then 1, or 2 where none could be read.

    Example: sightword segment street.jpg --labels road "car|automobile" tree other --out mask.png --overlay seen.png
    """
    from sightword.cli.output import console, counting_progress, errors, table, write_json
    from sightword.dense.files import find_items, find_place, segment_files
    from sightword.dense.names import split_names
    from sightword.labels.prompts import PLAIN

    items, names = find_items(images), split_names(labels)
    if out is None and overlay is None and json is None:
        raise RequestError("nowhere to write to: name --out, --overlay or --json")
    masks, overlays = find_place(out, items), find_place(overlay, items)
    from sightword.model import load

    loaded = load(model, device=device, precision=precision)
    segmenter = loaded.segmenter(
        names, templates or PLAIN, rule=rule, short=short, step=step, threshold=threshold, refine=refine
    )
    with counting_progress("segmenting") as progress:
        found = segment_files(segmenter, items, masks, overlays, json is not None, progress)
    for skip in found.skipped:
        errors.print(f"sightword: {skip.key}: {skip.reason}", soft_wrap=True, markup=False)
    write_json(json, found.to_json() | {"precision": loaded.precision})
    rows = [
        [
            record["image"] + (f" {record['frame']}" if "frame" in record else ""),
            ", ".join(f"{one['label']} {100 * one['share']:.1f} %" for one in record["labels"][:5]),
        ]
        for record in found.images[:50]
    ]
    if rows:
        console.print(table([("image", False), ("share of the pixels", False)], rows), markup=False)
    if len(found.images) > len(rows):
        console.print(f"and {len(found.images) - len(rows):,} more", markup=False)
    return found.exit_code
