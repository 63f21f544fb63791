"""Every `sightword train` that a page of the project names is one that can be typed."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from sightword.training.recipe import read_recipe

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "recipes").glob("*.toml"))]
COMMAND = re.compile(r"sightword train\s+(recipes/[\w-]+\.toml)((?:(?!`|;| #|\n).)*)")


def commands() -> list[tuple[str, str, tuple[str, ...]]]:
    """The page, the recipe and what follows each --set."""
    found = []
    for page in PAGES:
        text = re.sub(r" *\\\n#? *", " ", page.read_text(encoding="utf-8"))
        for recipe, rest in COMMAND.findall(text):
            words = shlex.split(re.sub(r"\$\w+", "0", rest))
            changes = [word for before, word in pairwise(words) if before == "--set"]
            found.append((page.name, recipe, tuple(changes)))
    return found


def test_there_are_commands_to_look_at() -> None:
    found = commands()
    assert len(found) > 15
    assert sum(map(len, (changes for *_, changes in found))) > 15


@pytest.mark.parametrize(("page", "recipe", "changes"), sorted({*commands()}))
def test_a_command_is_one_that_can_be_typed(page: str, recipe: str, changes: tuple[str, ...]) -> None:
    read_recipe(ROOT / recipe, changes)
