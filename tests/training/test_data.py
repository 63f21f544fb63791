"""The data of a recipe: folders, shards and mixtures of them, in a run."""

from __future__ import annotations

import io
from collections import Counter
from itertools import islice
from pathlib import Path

import pytest

from sightword.data.augment import Augment
from sightword.data.images import ImageSpec
from sightword.data.loader import Loader
from sightword.data.tokenizer import train_tokenizer
from sightword.errors import RequestError
from sightword.evaluation.experiment import run_training
from sightword.training.data import read_data, training_texts
from sightword.training.log import read_log
from sightword.training.loop import Status, train
from sightword.training.recipe import Recipe, read_recipe, recipe_text
from tests.data.test_listing import write_shard
from tests.training.conftest import COLOURS, draw
from tests.training.test_loop import PAGE

SOURCES = """
source = "mixture"
[[data.sources]]
path = "WORK/shards/{00000..00003}.tar"
weight = 3
prefix = "web: "
[[data.sources]]
path = ["WORK/labelled.tar"]
weight = 1
templates = ["a {}", "the {}"]
classes = "WORK/classes.txt"
"""


def encoded(colour: str, seed: int) -> bytes:
    buffer = io.BytesIO()
    draw(colour, "disc", seed).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A recipe on a mixture: captions in four shards, of which one is missing, and labels in another."""
    (tmp_path / "shards").mkdir()
    for shard in range(3):
        members: dict[str, bytes] = {}
        for seed, colour in enumerate(COLOURS):
            members[f"{shard}{seed}.png"] = encoded(colour, shard)
            members[f"{shard}{seed}.txt"] = f"a {colour} disc".encode()
        members[f"{shard}9.png"], members[f"{shard}9.txt"] = encoded("red", shard)[:80], b"broken"
        write_shard(tmp_path / "shards" / f"{shard:05}.tar", members)
    labelled = {f"{n}.png": encoded(colour, 9) for n, colour in enumerate(COLOURS)}
    write_shard(tmp_path / "labelled.tar", labelled | {f"{n}.cls": str(n).encode() for n in range(len(COLOURS))})
    (tmp_path / "classes.txt").write_text("\n".join(f"{colour} disc" for colour in COLOURS))
    text = PAGE.replace('source = "pairs"\npath = "unused here"\nvalidation = 0.0', "validation = 0.0")
    text = text.replace("[augment]", SOURCES.replace("WORK", str(tmp_path)) + "[augment]")
    text = text.replace("steps = 60", "steps = 6").replace("every = 20", "every = 3")
    path = tmp_path / "mixture.toml"
    path.write_text(text)
    return path


def test_a_mixture_trains_and_names_all_that_is_broken(page: Path, tmp_path: Path) -> None:
    recipe = read_recipe(page)
    result = run_training(recipe, tmp_path / "run").result
    skipped = {event["key"]: event["reason"] for event in read_log(tmp_path / "run" / "log.jsonl") if "key" in event}
    missing = f"0:{tmp_path}/shards/00003.tar"
    assert skipped[missing] == "no such shard"
    assert skipped.keys() <= {missing, *(f"0:{shard:05}.tar/{shard}9" for shard in range(3))}
    assert result.skipped == len(skipped) > 1
    orders = [event for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "order"]
    # Six steps of 16 positions; an epoch has as many positions as there are pairs: 15 + 4.
    assert [(event["step"], event["epoch"]) for event in orders] == [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5)][:6]
    assert len({event["fingerprint"] for event in orders}) == len(orders)
    (tmp_path / "again.toml").write_text(recipe_text(recipe))
    assert read_recipe(tmp_path / "again.toml") == recipe


def test_a_run_goes_on_only_with_the_pairs_that_it_was_begun_with(page: Path, tmp_path: Path) -> None:
    recipe = read_recipe(page)
    data = read_data(recipe.data)

    def interrupt(status: Status) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", data.train, progress=interrupt)
    labelled = {f"{n}x.png": encoded(colour, 9) for n, colour in enumerate(COLOURS)}
    write_shard(tmp_path / "labelled.tar", labelled | {f"{n}x.cls": str(n).encode() for n in range(len(COLOURS))})
    with pytest.raises(RequestError, match="was begun with other pairs"):
        train(recipe, tmp_path / "run", read_data(recipe.data).train)


def test_the_sentences_and_shares_of_a_mixture(page: Path) -> None:
    recipe = read_recipe(page)
    data = read_data(recipe.data)
    texts = training_texts(data.train, recipe.data.templates, False)
    colours = sorted(COLOURS)
    captions = {f"web: a {colour} disc" for colour in colours} | {"web: broken"}
    assert {*texts} == captions | {f"{article} {colour} disc" for colour in colours for article in ("a", "the")}
    tokenizer = train_tokenizer(texts, 300, 32)
    loader = Loader(data.train, tokenizer, ImageSpec(size=16), Augment(), batch_size=64, seed=0)
    batches = loader.batches()
    drawn = [key for batch in islice(batches, 4) for key in (*batch.keys, *(skip.key for skip in batch.skipped))]
    batches.close()
    assert Counter(key[0] for key in drawn) == {"0": 192, "1": 64}
    assert [pair.label for pair in data.train if pair.key.startswith("1:")] == [f"{colour} disc" for colour in COLOURS]


def test_without_weights_no_pair_comes_more_often_than_another(page: Path) -> None:
    page.write_text(page.read_text().replace("weight = 3\n", "").replace("weight = 1\n", ""))
    train = read_data(read_recipe(page).data).train
    assert train.weights == (15.0, 4.0)  # type: ignore[attr-defined]


def test_pairs_are_held_out_of_every_source(page: Path, tmp_path: Path) -> None:
    recipe = read_recipe(page, ["data.validation=0.4"])
    data = read_data(recipe.data)
    train, held = {pair.key for pair in data.train}, {pair.key for pair in data.validation}
    assert len(train | held) == 19
    assert not train & held
    assert {key[0] for key in held} == {"0", "1"}
    assert data.names == tuple(sorted({pair.name for pair in data.validation}))
    run_training(recipe, tmp_path / "run")
    rows = [event["row"] for event in read_log(tmp_path / "run" / "log.jsonl") if event["event"] == "validation"]
    assert rows[-1]["n"] == len([key for key in held if not key.endswith("9")])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("weight = 3\n", "", "either all of the `sources` have a `weight`, or none"),
        ("weight = 3", "weight = 0", "greater than 0"),
        ('prefix = "web: "', 'prefix = "web {} "', "belongs into `templates`"),
        ('prefix = "web: "', 'perfix = "web"', "did you mean 'prefix'"),
        ('templates = ["a {}", "the {}"]', "templates = []", "templates"),
        ('source = "mixture"', 'source = "pairs"', "`path` is needed with source = 'pairs'"),
        ('source = "mixture"', 'source = "emoji"', "`sources` are needed with source = 'mixture', and only there"),
        ("classes.txt", "none.txt", "the names of the classes are not readable"),
        ("{00000..00003}", "{00007..00009}", "no image-text pairs in 3 shards"),
        ("validation = 0.0", "validation = 0.9999", "leaves no pair to train on"),
    ],
)
def test_a_wrong_mixture_is_refused(page: Path, old: str, new: str, message: str) -> None:
    text = page.read_text()
    assert old in text
    page.write_text(text.replace(old, new))
    with pytest.raises(RequestError) as caught:
        read_data(read_recipe(page).data)
    assert message in str(caught.value)


def test_a_folder_of_shards_gives_the_batches_of_the_pairs_in_it(tmp_path: Path) -> None:
    recipe: Recipe = read_recipe_of(tmp_path, "pairs")
    (tmp_path / "pairs").mkdir()
    members: dict[str, bytes] = {}
    for number, colour in enumerate(COLOURS):
        members |= {f"{number}.png": encoded(colour, 1), f"{number}.txt": f"a {colour} disc".encode()}
    write_shard(tmp_path / "pairs" / "0.tar", members)
    assert [pair.name for pair in read_data(recipe.data).train] == [f"a {colour} disc" for colour in COLOURS]


def read_recipe_of(folder: Path, path: str) -> Recipe:
    (folder / "recipe.toml").write_text(PAGE.replace("unused here", str(folder / path)))
    return read_recipe(folder / "recipe.toml")
