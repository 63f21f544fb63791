"""Patterns that stand for several templates."""

from __future__ import annotations

import pytest

from sightword.errors import RequestError
from sightword.labels.prompts import expand


def test_alternatives_multiply_in_their_order() -> None:
    assert expand("a photo of a {}.") == ("a photo of a {}.",)
    assert expand("a {|bad }photo of {a|the} {}.") == (
        "a photo of a {}.",
        "a photo of the {}.",
        "a bad photo of a {}.",
        "a bad photo of the {}.",
    )
    assert expand("{|a }{}") == ("{}", "a {}")


@pytest.mark.parametrize("pattern", ["a {b|c} photo", "{} and {}", "{a|b} {} {}"])
def test_every_template_has_one_place_for_the_label(pattern: str) -> None:
    with pytest.raises(RequestError, match=r"needs exactly one \{\}"):
        expand(pattern)
