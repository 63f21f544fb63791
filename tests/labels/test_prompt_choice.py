"""Templates chosen on validation data, and never on test data."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sightword.errors import RequestError
from sightword.labels.prompt_choice import PromptChoice, choose_templates, refuse_test_data
from sightword.labels.zero_shot import zero_shot_head
from sightword.model import Model

TEMPLATES = ("{}", "a photo of a {}.", "a drawing of a {}.", "nothing of {}")


def accuracy(scores: NDArray[Any], labels: NDArray[Any]) -> float:
    return float((scores.argmax(axis=1) == labels).mean())


def unit(array: NDArray[Any]) -> NDArray[np.float32]:
    return (array / np.linalg.norm(array, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def case() -> dict[str, Any]:
    """Templates whose vectors lie at different distances from the classes: the third nearest, the last at random."""
    rng = np.random.default_rng(0)
    classes = rng.normal(size=(6, 16))
    noise = np.array([3.0, 1.5, 0.8, 30.0])[:, None, None]
    labels = rng.integers(0, 6, 400)
    return {
        "templates": TEMPLATES,
        "vectors_TCD": unit(classes + noise * rng.normal(size=(4, 6, 16))),
        "features_ND": unit(classes[labels] + 2 * rng.normal(size=(400, 16))),
        "labels": labels,
        "data": "made up",
        "split": "validation",
        "score": accuracy,
    }


def test_the_best_template_is_taken_first_then_what_helps(case: dict[str, Any]):
    chosen = choose_templates(**case)
    alone = [accuracy(case["features_ND"] @ head.T, case["labels"]) for head in case["vectors_TCD"]]
    assert chosen.templates[0] == TEMPLATES[int(np.argmax(alone))]
    assert chosen.scores[0] == max(alone)
    assert list(chosen.scores) == sorted(set(chosen.scores)), "each template raises it"
    assert TEMPLATES[3] not in chosen.templates
    assert accuracy(case["features_ND"] @ chosen.weights.T, case["labels"]) == chosen.scores[-1]
    assert len(choose_templates(**case, most=1).templates) == 1


def test_the_choice_says_on_what_it_was_made(case: dict[str, Any]):
    chosen = choose_templates(**case)
    assert isinstance(chosen, PromptChoice)
    assert (chosen.chosen_on, chosen.n, chosen.candidates) == ("made up, validation", 400, 4)
    assert json.loads(json.dumps(chosen.to_json()))["chosen_on"] == "made up, validation"


def test_its_head_is_that_of_zero_shot(model: Model):
    labels, short = ["red circle", "green square"], ("{}", "a {}.", "my {}")
    vectors = np.stack([model.embed_texts([t.replace("{}", label) for label in labels]) for t in short])
    # A score that grows with the number of templates takes them all.
    count = iter(range(100))
    chosen = choose_templates(
        short, vectors, vectors[0], np.array([0, 1]), data="x", split="train", score=lambda *_: next(count)
    )
    assert set(chosen.templates) == set(short)
    assert np.allclose(chosen.weights, zero_shot_head(model, labels, short), atol=1e-6)


@pytest.mark.parametrize("split", ["test", "Test", "test_full", "testing", "eval", ""])
def test_test_data_are_refused(case: dict[str, Any], split: str):
    with pytest.raises(RequestError, match="nothing may be chosen on it; give the validation split"):
        choose_templates(**{**case, "split": split})


@pytest.mark.parametrize("split", ["train", "validation", "val", "trainval", "half of train"])
def test_other_splits_are_not(split: str):
    refuse_test_data(split, "choosing")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"templates": TEMPLATES[:3]}, "vectors .* for 3 templates"),
        ({"templates": ("no place", *TEMPLATES[1:])}, "exactly one"),
        ({"labels": np.zeros(3)}, "3 labels"),
        ({"features_ND": np.zeros((0, 16)), "labels": np.zeros(0)}, "not one labelled sample"),
        ({"most": 0}, "at most 0 templates"),
    ],
)
def test_wrong_input_is_named(case: dict[str, Any], changed: dict[str, Any], message: str):
    with pytest.raises(RequestError, match=message):
        choose_templates(**{**case, **changed})
