"""`sightword classify`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Checkpoint, Device, Json, Precision
from sightword.errors import RequestError


def classify(
    *images: Annotated[Path, Parameter(help="Image files and folders.", negative=())],
    labels: Annotated[list[str], Parameter(consume_multiple=True, negative=(), help="What to look for.")],
    model: Checkpoint = "runs/quickstart/model",
    templates: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative=(), help="Sentences with {} for the label; several are averaged."),
    ] = None,
    top: Annotated[int, Parameter(help="How many labels to show for each picture.")] = 3,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = None,
) -> int:
    """Say which of the given labels fits each picture best.

    A picture that cannot be read is named and passed over; the exit code is then 1, or 2 where none could be read.

    Example: sightword classify photos/ one.jpg --labels "a dog" "a cat" --json scores.json
    """
    from sightword.cli.output import console, counting_progress, errors, table, write_json
    from sightword.labels.files import classify_files, find_images
    from sightword.labels.prompts import PLAIN, check_labels

    if not images:
        raise RequestError("no images: name files or folders")
    files, wanted = find_images(images), check_labels(labels)
    from sightword.model import load

    loaded = load(model, device=device, precision=precision)
    classifier = loaded.classifier(wanted, templates or PLAIN)
    with counting_progress("classifying") as progress:
        found = classify_files(classifier, files, top, progress)
    for skip in found.skipped:
        errors.print(f"sightword: {skip.key}: {skip.reason}", soft_wrap=True, markup=False)
    write_json(json, found.to_json() | {"precision": loaded.precision})
    if found.files:
        best = [("label" if i == 0 else f"{i + 1}.", False) for i in range(min(top, len(wanted)))]
        rows = [
            [str(file), *(f"{label}  {score:.3f}" for label, score in labels_of)]
            for file, labels_of in zip(found.files, found.top, strict=True)
        ]
        console.print(table([("image", False), *best], rows), markup=False)
        console.print(f"\n{found.note}", soft_wrap=True, markup=False)
    return found.exit_code
