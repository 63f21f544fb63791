"""The front door: `sightword.load` gives a Model, an Embedder that also turns words into tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sightword.checkpoints.families import load_folder
from sightword.checkpoints.hub import locate
from sightword.embedding.embedder import Embedder, Precision
from sightword.labels.classifier import Classifier
from sightword.labels.prompts import PLAIN
from sightword.labels.zero_shot import zero_shot


class Model(Embedder):
    """An Embedder with its verbs. Each makes a tool from words."""

    def classifier(self, labels: Sequence[str], templates: Sequence[str] = PLAIN) -> Classifier:
        """A zero-shot classifier. templates: sentences with `{}` for the label; several are averaged."""
        return zero_shot(self, labels, templates)


def load(name: str | Path, device: str = "auto", precision: Precision = "auto", revision: str | None = None) -> Model:
    """Load a checkpoint of any known family: Sightword's own, open_clip's, transformers' CLIPModel.

    name: a folder, or a repository of the Hub (`org/name`, `org/name@revision`), of which the files that are needed are
    downloaded once. A `Path` is always a folder. revision: a branch, a tag or a commit of the repository.
    Raises CheckpointError where it cannot be used as it is.
    """
    model, contract, tokenizer = load_folder(*locate(name, revision))
    return Model(model, contract, tokenizer, device=device, precision=precision)
