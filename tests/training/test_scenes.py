"""Training on the captions of scenes, as the recipes have it, with few and small ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightword.errors import RequestError
from sightword.evaluation.experiment import run_training
from sightword.training.log import read_log
from sightword.training.recipe import read_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
FEW = (
    "data.scenes.count=40", "data.validation=0.2", "data.workers=0", "training.steps=2", "training.batch_size=8",
    "training.every=2", "training.precision=fp32",
)  # fmt: skip


def test_a_clip_of_scenes_and_its_negations(tmp_path: Path, checkpoint: Path):
    pytest.importorskip("emoji")
    small = [f"model.start={checkpoint}", "model.stretch.keep=4", "model.stretch.context=64"]
    base = read_recipe(RECIPES / "scenes-clip.toml", [*FEW, *small, "training.warmup=0"])
    run_training(base, tmp_path / "base")
    begun = tmp_path / "base" / "model"
    negation = read_recipe(RECIPES / "negation.toml", [*FEW, f"model.start={begun}", "training.steps=6"])
    assert negation.training.teacher.name == str(begun)  # type: ignore[union-attr]
    assert run_training(negation, tmp_path / "run").result.steps == 6
    first, *_, last = (
        event["row"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "validation"
    )
    assert first["retention"]["value"] == first["retention"]["before"]["value"] == 1.0
    assert first["retention"]["split"] == "emoji"
    assert last["retention"]["n"] > 300
    assert last["retention"]["before"] == first["retention"]["before"]
    for name in ("presence", "absence"):
        assert 0 < last[name]["n"] <= first["n"] == 8
        assert (last[name]["metric"], last[name]["classes"]) == ("accuracy", 2)
    # What the best is chosen by: not by captions alone, at which the start is the best.
    assert last["score"] == pytest.approx((last["value"] + last["presence"]["value"] + last["absence"]["value"]) / 3)


def test_scenes_have_captions_unless_their_pixels_train(tmp_path: Path):
    page = RECIPES / "scenes-clip.toml"
    assert read_recipe(RECIPES / "lseg-scenes.toml").data.scenes.texts is None  # type: ignore[union-attr]
    text = page.read_text().replace('texts = "short"\n', "")
    (tmp_path / "recipe.toml").write_text(text)
    assert read_recipe(tmp_path / "recipe.toml").data.scenes.texts == "short"  # type: ignore[union-attr]
    with pytest.raises(RequestError, match=r"trained on masks, which .* without `texts` has"):
        read_recipe(RECIPES / "lseg-scenes.toml", ["data.scenes.texts=short"])


@pytest.mark.parametrize("change", ["retention.path=there", "retention.source=pairs"])
def test_a_retention_set_has_one_place(change: str):
    with pytest.raises(RequestError, match="`path` is needed with source = 'pairs', and only there"):
        read_recipe(RECIPES / "negation.toml", [change])
