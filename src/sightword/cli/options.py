"""Options that mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword import embedding, towers

Device = Annotated[str, Parameter(help="auto, cpu, cuda, cuda:1, …; auto takes a GPU where there is one.")]
Precision = Annotated[
    embedding.Precision,
    Parameter(help="Of the weights; auto measures whether half precision is faster here. fp16 is for GPUs."),
]
Checkpoint = Annotated[str, Parameter(help="A checkpoint folder, or a repository of the Hub: org/name[@revision].")]
Json = Annotated[Path | None, Parameter(help="Write the result there as JSON.")]
Changes = Annotated[
    tuple[str, ...],
    Parameter(name="--set", consume_multiple=True, negative=(), help="Change the recipe: section.key=value …"),
]
Seed = Annotated[int | None, Parameter(help="Of weights, order and augmentation; the recipe's own otherwise.")]

# Of the verbs that look at pixels.
Pictures = Annotated[Path, Parameter(help="Pictures, animations, videos, and folders of them.", negative=())]
Names = Annotated[
    list[str],
    Parameter(consume_multiple=True, negative=(), help="What to look for; car|automobile is one label, car."),
]
Rule = Annotated[
    towers.Rule | None,
    Parameter(help="Of the last block of a CLIP that never trained on pixels; naclip if not given."),
]
Sentences = Annotated[
    list[str] | None,
    Parameter(consume_multiple=True, negative=(), help="Sentences with {} for the label; several are averaged."),
]
Short = Annotated[int | None, Parameter(help="Pixels that the shorter side is scaled to: more see smaller things.")]
Step = Annotated[int | None, Parameter(help="Pixels from window to window; half a window if not given.")]
