"""Embeddings to loss."""

from sightword.objectives.alignment import Alignment
from sightword.objectives.infonce import InfoNCE

__all__ = ["Alignment", "InfoNCE"]
