"""The benchmark of Omni-NegCLIP's evidence: its variants, its differences, and what a test shares with a training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.leakage import overlap, plain, seen_in
from benchmarks.negation import AUTHORS, BLOCKS, FULL, GROUPS, PEERS, chosen, folder_of, recipe_of, variants
from benchmarks.negation_evidence import MEAN, Hits, against, compared, differences, overview, rows_of
from sightword.data.pairs import Companions, Pair, PairList
from sightword.errors import RequestError
from tests.conftest import make_picture


def test_every_variant_is_a_recipe_of_its_own(tmp_path: Path) -> None:
    groups = variants(12)
    every = chosen([], groups)
    assert [*every] == [name for group in GROUPS for name in groups[group]]
    assert len(every) == 25
    recipes = {name: recipe_of(tmp_path, 0, tmp_path, changes).model_dump_json() for name, changes in every.items()}
    assert len({*recipes.values()}) == len(recipes)
    assert len({folder_of(tmp_path, name, 0) for name in every}) == len(every)
    steps = {recipe_of(tmp_path, 0, tmp_path, changes).training.steps for changes in every.values()}
    assert len(steps) == 1  # the peers train as long


def test_layers_are_matched_or_as_released(tmp_path: Path) -> None:
    layers = variants(12)["layers"]
    for part in ("front", "middle", "back"):
        assert layers[f"{part}, blocks alone"] == (f"model.text.train={part}", *BLOCKS)
    assert layers["middle, as released"] == ("model.text.train=4-7",)
    assert layers["back, as released"] == ("model.text.train=8-11",)
    assert variants(2)["layers"]["middle, as released"] == ("model.text.train=0-0",)


def test_some_variants_are_chosen_by_name_or_group() -> None:
    groups = variants(6)
    assert [*chosen(["losses", "text 3", FULL], groups)] == [FULL, AUTHORS, *PEERS, "text 3"]
    with pytest.raises(RequestError, match="no variant is called 'nothing'; there are losses"):
        chosen(["nothing"], groups)


def hits(presence: float, absence: float, seed: int) -> dict[str, Hits]:
    rng, pictures = np.random.default_rng(seed), tuple(map(str, range(400)))
    one, other = ((rng.random(400) < share).astype(float) for share in (presence, absence))
    found = {"presence": Hits("scenes_presence", one, pictures), "absence": Hits("scenes_absence", other, pictures)}
    return {**found, MEAN: Hits("both", (one + other) / 2, pictures)}


def test_differences_are_paired_and_say_absolute_and_relative() -> None:
    starts = [hits(0.5, 0.5, seed) for seed in (1, 2)]
    tuned = [hits(0.9, 0.7, seed) for seed in (3, 4)]
    rows = rows_of("full", starts, tuned)
    (presence,) = [row for row in rows if row["measure"] == "presence"]
    before, after = (np.mean([one["presence"].right.mean() for one in some]) for some in (starts, tuned))
    assert presence["points"] == pytest.approx(after - before)
    assert presence["relative"] == pytest.approx((after - before) / before)
    assert presence["points_low"] < presence["points"] < presence["points_high"]
    assert presence["points_low"] > 0.3
    gains = [
        two["presence"].right.mean() - one["presence"].right.mean() for one, two in zip(starts, tuned, strict=True)
    ]
    assert presence["deviation_of_seeds"] == pytest.approx(np.std(gains, ddof=1))
    told = differences(rows)
    assert "| scenes_presence | 400 | 2 |" in told
    assert "points, absolute (95 %)" in told
    assert "of the start, relative" in told
    assert "| full | 7 |" in overview(rows, {"full": 0.99}, {"full": 7})
    assert rows_of("one", starts[:1], tuned[:1])[0]["deviation_of_seeds"] is None


def test_ours_against_theirs_leaves_out_nothing_where_they_are_alike() -> None:
    ours, theirs = [hits(0.9, 0.8, 1)], [hits(0.9, 0.5, 2)]
    found = against("full", "con-clip", theirs, ours)
    assert found["settled"]
    assert 0.08 < found["low"] < found["points"] < found["high"] < 0.22
    same = against("full", "negclip", ours, ours)
    assert not same["settled"]
    assert same["points"] == 0.0
    assert "| full | con-clip |" in compared([found, same])


def test_what_a_test_shares_with_the_training_is_found() -> None:
    pictures = [make_picture(64, 64, seed=place) for place in range(6)]
    companions = Companions(denied=("No cat here.",), absent=("a dog, no car",))
    train = PairList(
        [
            Pair(picture, (f"caption {place}",), f"k{place}", companions=companions)
            for place, picture in enumerate(pictures[:4])
        ]
    )
    seen = seen_in(train)
    # The same picture at another size; captions in other letters; two that are new.
    tested = [pictures[2].resize((128, 128)), pictures[4], pictures[5]]
    texts = ["Caption 1!", "no cat  here", "no cat here", "no caption", "caption 9"]
    found = overlap(seen, "test", texts, tested)
    assert (found.captions, found.captions_seen, found.pictures, found.pictures_seen) == (4, 2, 3, 1)
    assert found.nearest < 2
    assert overlap(seen, "test", [], tested[1:]).pictures_seen == 0
    assert plain("A dog; no car.") == "a dog no car"
