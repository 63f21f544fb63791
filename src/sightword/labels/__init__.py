"""Words and examples to classifiers: prompts, zero-shot heads, the linear probe."""

from sightword.labels.probe import LinearProbe

__all__ = ["LinearProbe"]
