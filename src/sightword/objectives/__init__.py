"""Embeddings to loss."""

from sightword.objectives.infonce import InfoNCE

__all__ = ["InfoNCE"]
