"""`sightword fetch`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Json


def fetch(
    name: Annotated[str, Parameter(help="A repository of the Hub: org/name[@revision].")],
    out: Annotated[Path, Parameter(help="The new folder.")],
    *,
    revision: Annotated[str | None, Parameter(help="A branch, a tag or a commit; main otherwise.")] = None,
    json: Json = None,
) -> int:
    """Download a model of the Hub into a folder that needs nothing else.

    Only the files that the model needs are downloaded, all from one commit, which `source.json` names. The folder is
    loaded and checked once before it takes its place. What an interrupted download brought is kept: the same command
    goes on.

    Example: sightword fetch laion/CLIP-ViT-B-32-laion2B-s34B-b79K b32
    """
    from sightword.checkpoints.hub import fetch as fetch_checkpoint
    from sightword.cli.output import console, write_json

    made = fetch_checkpoint(name, out, revision)
    write_json(json, made.to_json())
    console.print(
        f"{made.source.repository} at {made.source.commit}: {made.folder}\nlicence, as its README says: "
        f"{made.source.licence}",
        soft_wrap=True,
        markup=False,
    )
    return 0
