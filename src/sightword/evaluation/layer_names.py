"""What the rows of the task `layers` are called, for those who make them and those who draw them (without torch)."""

from __future__ import annotations

DISTANCE, GRADIENT = "distance", "log_gradient"
"""Metrics, beside the probes' top1."""
NEGATED, DENIED_THING = "negated", "denied thing"
"""What probes are asked: does the text deny; and which of two things that it names."""
TWINS = "caption and denial"
LOSSES = ("presence", "absence", "whole")
BAG = "tokens"
"""The level below the blocks: the mean of the vectors of a text's tokens, which do not know their order."""


def block_name(number: int) -> str:
    """From 0, as in `model.text.train`."""
    return f"block {number}"
