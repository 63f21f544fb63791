"""`sightword detect`"""

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


def detect(
    *images: Pictures,
    labels: Names,
    background: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative=(), help="What else is there (sky, wall): it gets no boxes."),
    ] = None,
    model: Checkpoint = "runs/quickstart/model",
    out: Annotated[
        Path | None,
        Parameter(help="Of the pictures with boxes: a file (seen.png), or a folder where there are several."),
    ] = None,
    min_area: Annotated[
        float | None, Parameter(help="The share of the picture that a thing has at least; 0.001 if not given.")
    ] = None,
    rule: Rule = None,
    templates: Sentences = None,
    threshold: Annotated[float | None, Parameter(help="Pixels with no score above it get no box; 0 to 1.")] = None,
    refine: Annotated[bool, Parameter(help="Let the boxes follow colours (PAMR); slow.", negative=())] = False,
    short: Short = None,
    step: Step = None,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = None,
) -> int:
    """Put boxes around what the given labels name, without training: the connected parts of `segment`'s mask.

    A picture that cannot be read is named and passed over; the exit code is then 1, or 2 where none could be read.

    Example: sightword detect street.jpg --labels "car|automobile" person --background road sky --out seen.png
    """
    from sightword.cli.output import console, counting_progress, errors, table, write_json
    from sightword.dense.detection import MIN_AREA, check_min_area
    from sightword.dense.files import detect_files, find_items, find_place
    from sightword.dense.names import split_names
    from sightword.labels.prompts import PLAIN

    min_area = check_min_area(MIN_AREA if min_area is None else min_area)
    items, names = find_items(images), split_names([*labels, *(background or ())])
    drawn = find_place(out, items)
    from sightword.model import load

    loaded = load(model, device=device, precision=precision)
    segmenter = loaded.segmenter(
        names, templates or PLAIN, rule=rule, short=short, step=step, threshold=threshold, refine=refine
    )
    with counting_progress("detecting") as progress:
        found = detect_files(segmenter, items, drawn, [*names][len(labels) :], min_area, progress)
    for skip in found.skipped:
        errors.print(f"sightword: {skip.key}: {skip.reason}", soft_wrap=True, markup=False)
    write_json(json, found.to_json() | {"precision": loaded.precision})
    rows = [
        [
            record["image"] + (f" {record['frame']}" if "frame" in record else ""),
            box["label"],
            f"{box['score']:.3f}",
            " ".join(map(str, box["box"])),
        ]
        for record in found.images
        for box in record["boxes"]
    ]
    if rows:
        columns = [("image", False), ("label", False), ("score", True), ("left top width height", True)]
        console.print(table(columns, rows[:50]), markup=False)
    elif found.images:
        console.print("nothing that is large enough", markup=False)
    if len(rows) > 50:
        console.print(f"and {len(rows) - 50:,} more boxes", markup=False)
    return found.exit_code
