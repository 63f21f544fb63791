"""Embeddings to loss."""

from sightword.objectives.distillation import Features, Similarities
from sightword.objectives.hard_negatives import HardNegatives
from sightword.objectives.infonce import InfoNCE
from sightword.objectives.long_text import LongText
from sightword.objectives.negation import NegationWeights, OmniNegCLIP
from sightword.objectives.sigmoid import Sigmoid
from sightword.objectives.tags import Tagging

__all__ = [
    "Features",
    "HardNegatives",
    "InfoNCE",
    "LongText",
    "NegationWeights",
    "OmniNegCLIP",
    "Sigmoid",
    "Similarities",
    "Tagging",
]
