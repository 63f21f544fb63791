"""Sightword: language-supervised vision. Write a name, and a vision model sees it.

    import sightword

    model = sightword.load("runs/quickstart/model")
    model.classifier(["a tabby cat", "a golden retriever"]).predict(["one.jpg"]).top(1)

Nothing heavy is imported until it is used: `import sightword` loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sightword.errors import CheckpointError, ImageError, RequestError, SightwordError

if TYPE_CHECKING:
    from sightword.embedding.bulk import embed
    from sightword.embedding.parts import iter_vectors, read_vectors
    from sightword.labels.classifier import Classifier
    from sightword.model import Model, evaluate, interpolate, load, push
    from sightword.onnx.embedder import load_onnx

__version__ = "0.1.0"

__all__ = [
    "CheckpointError",
    "Classifier",
    "ImageError",
    "Model",
    "RequestError",
    "SightwordError",
    "__version__",
    "embed",
    "evaluate",
    "interpolate",
    "iter_vectors",
    "load",
    "load_onnx",
    "push",
    "read_vectors",
]

_LAZY = {
    "Classifier": "sightword.labels.classifier",
    "Model": "sightword.model",
    "embed": "sightword.embedding.bulk",
    "evaluate": "sightword.model",
    "interpolate": "sightword.model",
    "iter_vectors": "sightword.embedding.parts",
    "load": "sightword.model",
    "load_onnx": "sightword.onnx.embedder",
    "push": "sightword.model",
    "read_vectors": "sightword.embedding.parts",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'sightword' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
