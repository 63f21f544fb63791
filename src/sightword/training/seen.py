"""The vectors that a locked image tower gives of the training pictures, made once.

Where nothing of the tower learns and a picture is shown as it is, each epoch would give the same vectors again:
Omni-NegCLIP (arXiv 2603.29258) and CoN-CLIP (arXiv 2403.20312) train the text tower alone, on the pictures as CLIP
prepares them, for 30 and 5 epochs. So they are made once, in float32, and no picture is opened after that. Another run
of the same start on the same pairs can have them too (model.image.vectors).

Shapes: B pairs, D joint space.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from sightword.data.augment import Augment
from sightword.data.pairs import Batch, Source
from sightword.embedding.embedder import Embedder
from sightword.training.kept_vectors import KeptVectors, folder_of, keep_vectors, see
from sightword.training.model_recipe import StartedModel
from sightword.training.recipe import Recipe


class Seen:
    """Gives each batch the vectors of its pictures."""

    def __init__(self, vectors: KeptVectors) -> None:
        self.vectors = vectors

    def __call__(self, batch: Batch) -> Batch:
        return replace(batch, seen=self.vectors.rows(batch.places))


def is_seen_once(recipe: Recipe, source: Source, sharded: bool) -> bool:
    """Whether the pictures of a run are seen once and for all: nothing of the image tower trains, nothing is done to
    a picture, and there are more steps than it takes to see all of them. sharded: no rank has the whole tower, so that
    none could do it."""
    model, training = recipe.model, recipe.training
    return (
        not sharded
        and isinstance(model, StartedModel)
        and model.image.train == "none"
        and not (model.lora and "image" in model.lora.towers)
        and model.dense is None
        and model.inversion is None
        and training.loss != "rtd"
        and recipe.augment == Augment()
        and not training.sizes
        and not training.drop_patches
        and training.steps * training.batch_size > len(source)
    )


def see_all(embedder: Embedder, start: str, source: Source, folder: Path) -> Seen:
    """The vectors of all pictures of `source` in `folder`, made where they are not there yet. start: the fingerprint of
    the checkpoint that the embedder's image tower is of. Raises SightwordError where the disk is full."""
    spec = embedder.contract.image.model_dump_json()
    folder = folder_of(folder, [start, spec, source.fingerprint, *source.keys()])
    return Seen(keep_vectors(folder, "images", len(source), partial(see, embedder, source, dtype=np.float32)))
