"""The rules of sentences, and how names are called."""

from __future__ import annotations

import numpy as np
import pytest

from sightword.data.scenes.grammar import Grammar, scene_grammar
from sightword.data.scenes.nouns import Phrase, countable, differ, joined, plural


def test_a_rule_gives_each_of_its_forms() -> None:
    grammar = Grammar({"one": ["a[ (big|small)] <what>", "{x} alone"], "what": ["cat", "dog"]}, {})
    rng = np.random.default_rng(0)
    drawn = {grammar.draw("one", rng) for _ in range(400)}
    said = {f"a{size} {what}" for size in ("", " big", " small") for what in ("cat", "dog")}
    assert drawn == said | {"{x} alone"}
    assert grammar.forms("one") == len(drawn)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("a (b|c", "')' is missing"),
        ("a [b", "']' is missing"),
        ("a b)", "closes nothing"),
        ("a [b)", "']' is missing"),
        ("a <b", "between < and >"),
        ("<nothing>", "'nothing', which is none"),
    ],
)
def test_bad_rules_are_told(form: str, told: str) -> None:
    with pytest.raises(ValueError, match=told.replace(")", r"\)").replace("]", r"\]")):
        Grammar({"one": [form]}, {})


def test_there_are_many_thousand_forms() -> None:
    grammar = scene_grammar()
    short = [rule for rule in grammar.rules if rule.startswith("short")]
    deny = [rule for rule in grammar.rules if rule.startswith("deny")]
    assert sum(map(grammar.forms, short)) > 5_000
    assert sum(map(grammar.forms, deny)) > 1_000


def test_words_for_opposite_places_are_as_many() -> None:
    # Twins take the same one of both.
    grammar = scene_grammar()
    for one, other in (("left", "right"), ("top", "bottom"), ("left top", "right top"), ("left top", "left bottom")):
        assert grammar.forms(f"place {one}") == grammar.forms(f"place {other}")


@pytest.mark.parametrize(
    ("name", "one", "many"),
    [
        ("cat", "a cat", "cats"),
        ("owl", "an owl", "owls"),
        ("unicorn", "a unicorn", "unicorns"),
        ("hourglass", "an hourglass", "hourglasses"),
        ("x-ray", "an x-ray", "x-rays"),
        ("cup with straw", "a cup with straw", "cups with straw"),
        ("jeans", "a pair of jeans", "pairs of jeans"),
        ("bread", "a piece of bread", "pieces of bread"),
        ("beans", "a set of beans", "sets of beans"),
        ("locked with key", "a locked with key sign", "locked with key signs"),
        ("computer mouse", "a computer mouse", "computer mice"),
        ("cherry", "a cherry", "cherries"),
        ("bus", "a bus", "buses"),
    ],
)
def test_articles_and_plurals(name: str, one: str, many: str) -> None:
    assert str(Phrase(countable(name))) == one
    assert plural(countable(name)) == many


def test_names_that_are_no_foils() -> None:
    assert differ("cat", "tulip")
    assert not differ("red apple", "green apple")
    assert not differ("bird", "eagle")
    assert not differ("cloud", "blue clouds")


def test_lists() -> None:
    assert [joined(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
