"""Embeddings to loss."""

from sightword.objectives.infonce import InfoNCE
from sightword.objectives.sigmoid import Sigmoid

__all__ = ["InfoNCE", "Sigmoid"]
