"""`sightword convert`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightword.cli.options import Checkpoint, Json


def convert(
    model: Checkpoint,
    out: Annotated[Path, Parameter(help="The new folder.")],
    *,
    to: Annotated[Literal["transformers", "open_clip", "native"], Parameter(help="The family to write.")],
    json: Json = None,
) -> int:
    """Write a model for another library, and report that it stayed the same.

    The new folder is read back and compared on random inputs before it takes its place. Where it differs by more than
    1e-4, or cannot hold the model, nothing is written.

    Example: sightword convert runs/mine/model --to open_clip mine-open_clip
    """
    from sightword.checkpoints.convert import convert as convert_checkpoint
    from sightword.cli.output import console, write_json

    made = convert_checkpoint(model, to, out)
    write_json(json, made.to_json())
    console.print(
        f"{made.source} → {made.to}: {made.folder}\nlargest difference, read back: pictures {made.image:.1e}, "
        f"texts {made.text:.1e}",
        soft_wrap=True,
        markup=False,
    )
    for change in made.changed:
        console.print(f"its files cannot say it as it was: {change}", soft_wrap=True, markup=False)
    return 0
