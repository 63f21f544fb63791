"""Prompt templates: the sentence into which a label is put. `{}` is the place of the label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from sightword.errors import RequestError

PLAIN = ("{}",)
"""The label as it was written."""

PHOTO = ("a photo of a {}.",)
"""CLIP's own first template (arXiv 2103.00020, section 3.1.4)."""

GENERAL = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""The seven that CLIP's authors published as enough for ImageNet, of the eighty that they had tried on it ("itap" is "I
took a picture"; the grammar is theirs)."""


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels without surrounding space. Raises RequestError for none, an empty one, or one that stands twice."""
    if isinstance(labels, str):
        raise RequestError("labels must be a list; put the single one into brackets")
    clean = [" ".join(label.split()) for label in labels]
    if not clean:
        raise RequestError("no labels: name at least one thing to look for")
    if "" in clean:
        raise RequestError(f"label {clean.index('') + 1} of {len(clean)} is empty")
    seen: dict[str, int] = {}
    for place, label in enumerate(clean, start=1):
        if label in seen:
            raise RequestError(f"the label {label!r} stands twice (places {seen[label]} and {place}): remove one")
        seen[label] = place
    return tuple(clean)


def check_templates(templates: Sequence[str]) -> tuple[str, ...]:
    """Raises RequestError for a template without exactly one `{}`."""
    if isinstance(templates, str):
        templates = [templates]
    if not templates:
        raise RequestError("no prompt templates: '{}' stands for the label as it is")
    for template in templates:
        if template.count("{}") != 1:
            raise RequestError(f"the prompt template {template!r} needs exactly one {{}} where the label goes")
    return tuple(templates)


def read_templates(path: str | Path) -> tuple[str, ...]:
    """A template a line; empty lines and repeated ones do not count. Raises RequestError."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else "it is no text in UTF-8"
        raise RequestError(f"{path}: prompt templates could not be read from it ({reason})") from None
    try:
        return check_templates([*dict.fromkeys(filter(None, (line.strip() for line in lines)))])
    except RequestError as wrong:
        raise RequestError(f"{path}: {wrong}") from None


def expand(pattern: str) -> tuple[str, ...]:
    """Every template that a pattern stands for: `a photo of {a|the} {}.` is two. Raises RequestError."""
    choice = re.search(r"\{([^{}]*\|[^{}]*)\}", pattern)
    if choice is None:
        return check_templates([pattern])
    before, after = pattern[: choice.start()], pattern[choice.end() :]
    return tuple(found for part in choice[1].split("|") for found in expand(before + part + after))


def fill(template: str, label: str) -> str:
    # Not str.format: a label may hold braces of its own.
    return template.replace("{}", label)
