"""WiSE-FT: between a start and what was tuned from it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.native import save_checkpoint
from sightword.data.pairs import PairList
from sightword.data.tokenizer import Tokenizer, train_tokenizer
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.towers.dual import DualEncoder
from sightword.training.interpolate import choose_alpha, mix
from sightword.training.log import read_log
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe
from tests.conftest import TEXTS
from tests.training.test_loop import PAGE as NEW
from tests.training.test_loop import equal, weights
from tests.training.test_start import PAGE


@pytest.fixture(scope="module")
def tuned(
    tmp_path_factory: pytest.TempPathFactory, encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer
) -> Path:
    folder = tmp_path_factory.mktemp("tuned") / "model"
    model = DualEncoder(contract.architecture)
    torch.manual_seed(5)
    model.load_state_dict(
        {name: tensor + 0.1 * torch.randn_like(tensor) for name, tensor in encoder.state_dict().items()}
    )
    save_checkpoint(folder, model, contract, tokenizer)
    return folder


def test_the_ends_are_the_models_and_between_them_lies_the_formula(checkpoint: Path, tuned: Path):
    one, other = sightword.load(checkpoint), sightword.load(tuned)
    for alpha, end in ((0.0, one), (1.0, other)):
        mixed = sightword.interpolate(checkpoint, tuned, alpha)
        assert equal(mixed.model.state_dict(), end.model.state_dict())
        assert np.array_equal(mixed.embed_texts(TEXTS), end.embed_texts(TEXTS))
    middle = sightword.interpolate(one, other, 0.3)
    for name, tensor in middle.model.state_dict().items():
        expected = 0.7 * one.model.state_dict()[name].double() + 0.3 * other.model.state_dict()[name].double()
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-7)
    made = middle.contract.provenance["interpolation"]
    assert made == {"alpha": 0.3, "start": one.fingerprint, "tuned": other.fingerprint}


def test_what_is_no_fraction_is_the_tuned_ones():
    start, tuned = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    tuned(torch.randn(4, 2) + 5)
    mixed = mix(start.state_dict(), tuned.state_dict(), 0.5)
    assert int(mixed["num_batches_tracked"]) == 1
    torch.testing.assert_close(mixed["running_mean"], tuned.running_mean / 2)  # pyright: ignore


def test_models_that_do_not_belong_together_are_refused(
    checkpoint: Path, tmp_path: Path, contract: Contract, tokenizer: Tokenizer
):
    with pytest.raises(RequestError, match=r"not 1\.5"):
        sightword.interpolate(checkpoint, checkpoint, 1.5)

    with pytest.raises(RequestError, match="not in float32 any more"):
        sightword.interpolate(checkpoint, sightword.load(checkpoint, device="cpu", precision="bf16"), 0.5)

    def saved(name: str, contract: Contract, tokenizer: Tokenizer = tokenizer) -> Path:
        save_checkpoint(tmp_path / name, DualEncoder(contract.architecture), contract, tokenizer)
        return tmp_path / name

    text = contract.architecture.text.model_copy(update={"layers": 1})
    smaller = contract.model_copy(update={"architecture": contract.architecture.model_copy(update={"text": text})})
    with pytest.raises(RequestError, match=r"differ in architecture.text.layers: 2 and 1"):
        sightword.interpolate(checkpoint, saved("smaller", smaller), 0.5)
    pixels = contract.model_copy(update={"image": contract.image.model_copy(update={"mean": (0.5, 0.5, 0.5)})})
    with pytest.raises(RequestError, match=r"differ in image\.mean"):
        sightword.interpolate(checkpoint, saved("pixels", pixels), 0.5)
    other = train_tokenizer([text[::-1] for text in TEXTS], tokenizer.vocabulary, tokenizer.spec.context)
    assert other.spec == tokenizer.spec
    with pytest.raises(RequestError, match="different tokenizers"):
        sightword.interpolate(checkpoint, saved("words", contract, other), 0.5)


def test_of_equal_scores_the_nearest_to_the_start_is_chosen():
    values = {0.0: 0.2, 0.5: 0.8, 1.0: 0.8}
    start, tuned = {"w": torch.zeros(1)}, {"w": torch.ones(1)}
    choice = choose_alpha(start, tuned, [1.0, 0.5, 0.0], lambda weights: {"value": values[float(weights["w"])]})
    assert (choice.alpha, choice.by) == (0.5, "value")
    assert [point["alpha"] for point in choice.curve] == [0.0, 0.5, 1.0]
    # What is kept counts as much as what is gained.
    kept = choose_alpha(
        start, tuned, [0.0, 0.5, 1.0],
        lambda weights: {"value": values[float(weights["w"])], "retention": {"value": 1 - float(weights["w"])}},
    )  # fmt: skip
    assert (kept.alpha, kept.by) == (0.5, "mean of value and retention.value")
    assert kept.curve[1]["score"] == pytest.approx(0.65)


def test_a_run_ends_with_the_mix_that_fares_best_on_held_out_pairs(checkpoint: Path, pairs: PairList, tmp_path: Path):
    page = tmp_path / "recipe.toml"
    page.write_text(PAGE.replace("START", str(checkpoint)).replace("validation = 0.0", "validation = 0.5"))
    seen: list[Embedder] = []

    def validate(embedder: Embedder) -> dict[str, float]:
        seen.append(embedder)
        return {"value": [0.1, 0.2, 0.3, 0.4, 0.9, 0.5][len(seen) - 1]}  # at steps 0, 2, 4; at alpha 0, 0.5, 1

    recipe = read_recipe(page, ["training.wise=[0, 0.5, 1]", "model.lora.rank=2"])
    train(recipe, tmp_path / "run", pairs, validate=validate)
    final = weights(tmp_path / "run")
    assert equal(final, seen[4].model.state_dict())
    assert equal(seen[3].model.state_dict(), sightword.load(checkpoint).model.state_dict())
    assert equal(seen[5].model.state_dict(), seen[2].model.state_dict())
    contract = json.loads((tmp_path / "run" / "model" / "contract.json").read_text())
    told = contract["provenance"]["wise"]
    assert told["alpha"] == 0.5
    assert [point["score"] for point in told["curve"]] == [0.4, 0.9, 0.5]
    assert [event["alpha"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "wise"] == [0.5]


@pytest.mark.parametrize(
    ("start", "changes", "message"),
    [
        (True, ["training.wise=[0, 2]"], "training.wise"),
        (True, ["training.wise=[0.5]"], "it needs data.validation"),
        (False, ["training.wise=[0.5]", "data.validation=0.2"], "it needs model.start"),
    ],
)
def test_a_sweep_that_cannot_be_made_is_refused(tmp_path: Path, start: bool, changes: list[str], message: str):
    (tmp_path / "recipe.toml").write_text(PAGE if start else NEW)
    with pytest.raises(RequestError, match=message):
        read_recipe(tmp_path / "recipe.toml", changes)


def test_a_sweep_without_a_judge_is_refused_before_the_first_step(checkpoint: Path, pairs: PairList, tmp_path: Path):
    page = tmp_path / "recipe.toml"
    page.write_text(PAGE.replace("START", str(checkpoint)).replace("validation = 0.0", "validation = 0.5"))
    recipe: Recipe = read_recipe(page, ["training.wise=[0.5]"])
    with pytest.raises(RequestError, match="none were given"):
        train(recipe, tmp_path / "run", pairs)
    assert not (tmp_path / "run").exists()
