"""Embeddings to loss."""

from sightword.objectives.distillation import Features, Similarities
from sightword.objectives.infonce import InfoNCE
from sightword.objectives.sigmoid import Sigmoid

__all__ = ["Features", "InfoNCE", "Sigmoid", "Similarities"]
