"""Words to a classifier: the formula of the head, its cache, labels and templates of every kind, predictions."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.tokenizer import Tokenizer
from sightword.errors import ImageError, RequestError
from sightword.labels.classifier import Predictions
from sightword.labels.files import classify_files
from sightword.labels.prompts import PHOTO, PLAIN, check_labels, fill
from sightword.labels.zero_shot import _heads, zero_shot_head
from sightword.model import Model
from sightword.towers.dual import DualEncoder

LABELS = ["red circle", "green square", "blue star"]
TEMPLATES = ["a {}.", "{}", "my {} sky"]


@pytest.fixture
def counted(model: Model, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is embedded from here on."""
    _heads.pop(model, None)
    texts: list[str] = []
    embed = Model.embed_texts

    def counting(self: Model, items: Any, *args: Any, **kwargs: Any) -> Any:
        texts.extend(items)
        return embed(self, items, *args, **kwargs)

    monkeypatch.setattr(Model, "embed_texts", counting)
    return texts


# The head.


def test_the_head_is_the_mean_of_unit_vectors_brought_to_unit_length(model: Model) -> None:
    head = zero_shot_head(model, LABELS, TEMPLATES)
    for label, weight in zip(LABELS, head, strict=True):
        mean = np.mean([model.embed_texts([t.replace("{}", label)])[0] for t in TEMPLATES], axis=0, dtype=np.float64)
        assert np.allclose(weight, mean / np.linalg.norm(mean), atol=1e-6)
    assert head.shape == (3, model.dim)
    assert np.allclose(np.linalg.norm(head, axis=1), 1, atol=1e-6)


def test_the_plain_head_is_the_label_s_own_vector(model: Model) -> None:
    assert PLAIN == ("{}",)
    assert np.allclose(zero_shot_head(model, LABELS), model.embed_texts(LABELS), atol=1e-6)
    assert np.allclose(zero_shot_head(model, ["cat"], PHOTO), model.embed_texts(["a photo of a cat."]), atol=1e-6)


def test_a_head_is_remembered(model: Model, counted: list[str]) -> None:
    first = zero_shot_head(model, LABELS, TEMPLATES)
    assert len(counted) == 9
    assert zero_shot_head(model, list(LABELS), tuple(TEMPLATES)) is first
    assert zero_shot_head(model, [f" {label} " for label in LABELS], TEMPLATES) is first  # cleaned first
    assert model.classifier(LABELS, TEMPLATES).weights is first
    assert len(counted) == 9
    other_order = zero_shot_head(model, LABELS[::-1], TEMPLATES)
    assert len(counted) == 18
    assert np.allclose(other_order, first[::-1], atol=1e-6)


def test_a_remembered_head_cannot_be_changed(model: Model) -> None:
    with pytest.raises(ValueError, match="read-only"):
        zero_shot_head(model, LABELS)[0] = 0


def test_the_memory_is_bounded_and_ends_with_the_model(checkpoint: Path, counted: list[str]) -> None:
    own = sightword.load(checkpoint, device="cpu")
    for number in range(40):
        zero_shot_head(own, [f"label {number}"])
    assert len(_heads[own]) <= 16
    assert len(counted) == 40
    alive = weakref.ref(own)
    del own
    gc.collect()
    assert alive() is None


def test_models_do_not_share_heads(model: Model, checkpoint: Path) -> None:
    other = sightword.load(checkpoint, device="cpu")
    other.model.text.projection.weight.data.neg_()
    assert np.allclose(zero_shot_head(other, LABELS), -zero_shot_head(model, LABELS), atol=1e-6)


# Labels and templates.


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ([], "no labels"),
        (["a dog", ""], "label 2 of 2 is empty"),
        (["  \n", "a dog"], "label 1 of 2 is empty"),
        (["a dog", "a cat", "a dog"], r"'a dog' stands twice \(places 1 and 3\)"),
        (["a dog", " a  dog "], r"'a dog' stands twice \(places 1 and 2\)"),
        ("a dog", "must be a list"),
        (["a dog", "xqzj " * 40], "'xqzj .*tokens; the model reads at most 14"),
    ],
    ids=["none", "empty", "space", "twice", "twice but for space", "a string", "too long"],
)
def test_labels_that_cannot_be_used(model: Model, labels: Any, reason: str) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        model.classifier(labels)
    assert caught.value.exit_code == 2


def test_case_tells_labels_apart() -> None:
    assert check_labels(["Turkey", "turkey"]) == ("Turkey", "turkey")


@given(st.text(max_size=30), st.sampled_from(["{}", "a {}.", "the {} {0}"]))
def test_a_label_is_put_in_as_it_is(label: str, template: str) -> None:
    before, after = template.split("{}")
    assert fill(template, label) == before + label + after


def test_labels_with_braces(model: Model) -> None:
    labels = ["{}", "{0}", "{x", "100 %s"]
    head = model.classifier(labels, ["a {}"]).weights
    assert np.allclose(head, model.embed_texts([f"a {label}" for label in labels]), atol=1e-6)


@pytest.mark.parametrize("templates", [["a photo"], ["a {} {}"], ["{label}"], [], ["{}", "plain"]])
def test_templates_that_cannot_be_used(model: Model, templates: list[str]) -> None:
    with pytest.raises(RequestError, match="template"):
        model.classifier(LABELS, templates)


def test_one_template_may_be_a_string(model: Model) -> None:
    one = model.classifier(LABELS, "a {}.")  # not five templates of one letter
    assert np.array_equal(one.weights, model.classifier(LABELS, ["a {}."]).weights)


# Predictions.


def test_scores_are_the_softmax_of_scaled_cosines(model: Model, image_files: list[Path]) -> None:
    classifier = model.classifier(LABELS)
    scores = classifier.predict(image_files).scores
    logits = model.scale * model.embed_images(image_files).astype(np.float64) @ model.embed_texts(LABELS).T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(scores, expected, atol=1e-5)
    assert np.allclose(scores.sum(axis=1), 1, atol=1e-6)
    assert scores.shape == (8, 3)


def test_scores_of_a_sigmoid_model_are_of_each_label_by_itself(
    encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer, image_files: list[Path], tmp_path: Path
) -> None:
    architecture = contract.architecture.model_copy(update={"bias": True})
    sigmoid = DualEncoder(architecture)
    sigmoid.load_state_dict(encoder.state_dict() | {"logit_bias": torch.tensor(-1.5)})
    save_checkpoint(tmp_path / "m", sigmoid, contract.model_copy(update={"architecture": architecture}), tokenizer)
    model = sightword.load(tmp_path / "m", device="cpu")
    assert model.bias == -1.5
    predictions = model.classifier(LABELS).predict(image_files)
    cosines = model.embed_images(image_files).astype(np.float64) @ model.embed_texts(LABELS).T
    expected = 1 / (1 + np.exp(1.5 - model.scale * cosines))
    assert predictions.rule == "sigmoid"
    assert np.allclose(predictions.scores, expected, atol=1e-5)
    assert predictions.scores.dtype == np.float32
    # So the other labels have no say.
    alone = model.classifier(LABELS[1:2]).predict(image_files).scores
    assert np.allclose(alone, predictions.scores[:, 1:2], rtol=1e-4)
    assert "a sigmoid, of each label by itself" in classify_files(model.classifier(LABELS), image_files, 1).note
    far = replace(model.classifier(LABELS), bias=-1e4)
    with np.errstate(all="raise", under="ignore"):
        assert not far.predict(image_files[:1]).scores.any()


def test_predictions_do_not_depend_on_how_a_picture_comes(model: Model, image_files: list[Path]) -> None:
    for file in image_files[:2]:
        kinds = [file, str(file), file.read_bytes(), Image.open(file), np.asarray(Image.open(file))]
        predictions = model.classifier(LABELS).predict(kinds)
        assert np.abs(predictions.scores - predictions.scores[0]).max() < 1e-6
        assert len(set(predictions.best())) == 1


def test_top_is_sorted_and_keeps_to_the_labels(model: Model, image_files: list[Path]) -> None:
    predictions = model.classifier(LABELS).predict(image_files)
    assert len(predictions) == 8
    top = predictions.top(3)
    for row, scores, best in zip(top, predictions.scores, predictions.best(), strict=True):
        assert {label: pytest.approx(score) for label, score in row} == dict(zip(LABELS, scores.tolist(), strict=True))
        assert [score for _, score in row] == sorted(scores.tolist(), reverse=True)
        assert row[0][0] == best
    assert [row[:1] for row in top] == predictions.top()
    assert predictions.top(99) == top
    assert isinstance(top[0][0][1], float)  # not numpy's, so that it goes into JSON
    for k in (0, -1):
        with pytest.raises(RequestError, match=f"at least 1, not {k}"):
            predictions.top(k)


def test_equal_scores_keep_the_order_of_the_labels() -> None:
    tie = Predictions(("a", "b", "c"), np.array([[0.3, 0.4, 0.3], [1 / 3, 1 / 3, 1 / 3]], np.float32))
    assert [[label for label, _ in row] for row in tie.top(3)] == [["b", "a", "c"], ["a", "b", "c"]]


def test_one_label_gets_everything(model: Model, image_files: list[Path]) -> None:
    assert (model.classifier(["anything"]).predict(image_files[:2]).scores == 1).all()


def test_large_scales_do_not_overflow(model: Model) -> None:
    features = model.embed_texts(LABELS)
    sharp = type(model.classifier(LABELS))(model, tuple(LABELS), features, scale=1e4)
    assert np.allclose(sharp.predict_features(features).scores, np.eye(3), atol=1e-6)


def test_no_pictures_and_unreadable_ones(model: Model, image_files: list[Path], tmp_path: Path) -> None:
    classifier = model.classifier(LABELS)
    assert classifier.predict([]).scores.shape == (0, 3)
    assert classifier.predict([]).top(2) == []
    skipped: dict[int, ImageError] = {}
    found = classifier.predict([tmp_path / "gone.png", image_files[0]], skipped=skipped)
    assert len(found) == 1
    assert list(skipped) == [0]
    with pytest.raises(ImageError, match=r"gone\.png"):
        classifier.predict([tmp_path / "gone.png"])
    with pytest.raises(RequestError, match="must be a list"):
        classifier.predict(str(image_files[0]))
