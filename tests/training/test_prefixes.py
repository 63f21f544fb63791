"""Labels and captions in one run: learned prefixes, batches of one source each, positives by class (UniCL)."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

import sightword
from sightword.checkpoints.contract import Contract
from sightword.checkpoints.convert import conversions, convert
from sightword.checkpoints.fingerprint import fingerprint
from sightword.checkpoints.native import load_checkpoint
from sightword.data.pairs import Source
from sightword.data.tokenizer import Tokenizer
from sightword.errors import CheckpointError, RequestError
from sightword.towers.dual import DualEncoder
from sightword.training.data import read_data
from sightword.training.loop import train
from sightword.training.recipe import Recipe, read_recipe, recipe_text
from sightword.training.setup import set_up
from tests.data.test_listing import write_shard
from tests.training.conftest import COLOURS, draw
from tests.training.test_loop import PAGE as NEW
from tests.training.test_loop import StopError, equal, interrupt_after, weights
from tests.training.test_start import as_siglip

SOURCES = """
source = "mixture"
apart = true
[[data.sources]]
path = "WORK/labels.tar"
kind = "labels"
templates = ["a {}", "the {}."]
weight = 1
[[data.sources]]
path = "WORK/captions.tar"
weight = 2
"""
START = """
title = "from a checkpoint"
[data]
validation = 0.0
SOURCES
[model]
start = "START"
[model.text]
prefixes = true
[training]
steps = 4
batch_size = 8
lr = 1e-2
every = 2
"""


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """New towers on a mixture: the shape is the class, the caption tells the colour too."""
    labels: dict[str, bytes] = {}
    captions: dict[str, bytes] = {}
    for number, colour in enumerate(sorted(COLOURS) * 4):
        shape = "disc" if number % 8 < 4 else "bar"
        buffer = io.BytesIO()
        draw(colour, shape, number).save(buffer, "PNG")
        # As `data scenes` writes them: a caption stands beside the class.
        labels |= {f"{number}.png": buffer.getvalue(), f"{number}.txt": b"some words", f"{number}.cls": shape.encode()}
        captions |= {f"{number}.png": buffer.getvalue(), f"{number}.txt": f"a {colour} {shape}".encode()}
    write_shard(tmp_path / "labels.tar", labels)
    write_shard(tmp_path / "captions.tar", captions)
    sources = SOURCES.replace("WORK", str(tmp_path))
    text = NEW.replace('source = "pairs"\npath = "unused here"\nvalidation = 0.0', "validation = 0.0" + sources)
    text = text.replace("vocabulary = 300", "vocabulary = 300\nprefixes = true").replace("steps = 60", "steps = 6")
    path = tmp_path / "mixed.toml"
    path.write_text(text.replace("every = 20", "every = 2"))
    return path


@pytest.fixture
def started(page: Path, checkpoint: Path) -> Callable[..., Recipe]:
    sources = SOURCES.replace("WORK", str(page.parent))
    page.with_name("start.toml").write_text(START.replace("SOURCES", sources).replace("START", str(checkpoint)))
    return lambda *changes: read_recipe(page.with_name("start.toml"), changes)


def begin(started: Callable[..., Recipe], *changes: str) -> None:
    recipe = started(*changes)
    set_up(recipe, data_of(recipe), torch.device("cpu"))


def data_of(recipe: Recipe) -> Source:
    return read_data(recipe.data).train


def test_each_kind_has_its_prefix_and_each_batch_one_source(page: Path) -> None:
    recipe = read_recipe(page)
    setup = set_up(recipe, data_of(recipe), torch.device("cpu"))
    prefixes = setup.built.contract.text.prefixes
    assert prefixes is not None
    rows = setup.built.contract.architecture.text
    assert rows.kind == "transformer"
    # The last two rows, of which the tokenizer knows nothing.
    known = setup.built.tokenizer.engine.get_vocab_size(with_added_tokens=True)
    assert (prefixes.labels, prefixes.captions, rows.vocabulary) == (known + 1, known, known + 2)
    batches = setup.loader.batches()
    seen = [*islice(batches, 6)]
    batches.close()
    for batch in seen:
        numbers = {key[0] for key in batch.keys}
        assert len(numbers) == 1
        wanted = prefixes.labels if numbers == {"0"} else prefixes.captions
        assert batch.tokens.ids[:, 1].tolist() == [wanted] * 16
        assert ({text.strip(".").split()[0] for text in batch.texts} == {"a", "the"}) == (numbers == {"0"})
    assert {batch.keys[0][0] for batch in seen} == {"0", "1"}


def test_positives_are_of_the_class_and_captions_of_themselves(page: Path) -> None:
    recipe = read_recipe(page)
    loader = set_up(recipe, data_of(recipe), torch.device("cpu")).loader
    batches = loader.batches()
    seen = {batch.keys[0][0]: batch for batch in islice(batches, 6)}
    batches.close()
    labels, captions = seen["0"], seen["1"]
    agree = labels.labels[:, None, 0] == labels.labels[None, :, 0]
    classes = [text.strip(".").split()[1] for text in labels.texts]
    assert len(set(labels.texts)) == 4
    assert agree.tolist() == [[one == other for other in classes] for one in classes]
    agree = captions.labels[:, None, 0] == captions.labels[None, :, 0]
    assert agree.tolist() == [[one == other for other in captions.texts] for one in captions.texts]


def test_clips_own_targets_are_a_choice(page: Path) -> None:
    losses = []
    for positives in ("labels", "pairs"):
        recipe = read_recipe(page, [f"training.positives={positives}"])
        setup = set_up(recipe, data_of(recipe), torch.device("cpu"))
        batches = setup.loader.batches()
        batch = next(batch for batch in batches if batch.keys[0][0] == "0")
        batches.close()
        setup.stepper.begin()
        losses.append(setup.stepper.gradients(batch, 0.0)["loss"])
        if positives == "pairs":
            with torch.no_grad():
                terms = setup.stepper.encoders(batch)
            logits = terms.scale * terms.image @ terms.text.T
            own = torch.arange(16)
            plain = (torch.nn.functional.cross_entropy(one, own) for one in (logits, logits.T))
            assert losses[1] == pytest.approx(float(sum(plain) / 2), rel=1e-5)  # type: ignore[arg-type]
    assert losses[0] != losses[1]


def test_a_run_is_the_same_interrupted_and_leaves_a_model_that_reads_both_ways(page: Path, tmp_path: Path) -> None:
    recipe = read_recipe(page)
    (tmp_path / "again.toml").write_text(recipe_text(recipe))
    assert read_recipe(tmp_path / "again.toml") == recipe
    whole = train(recipe, tmp_path / "whole", data_of(recipe), device="cpu")
    with pytest.raises(StopError):
        train(recipe, tmp_path / "run", data_of(recipe), interrupt_after(1), "cpu")
    train(recipe, tmp_path / "run", data_of(recipe), device="cpu")
    assert equal(weights(tmp_path / "run"), weights(tmp_path / "whole"))
    usual = sightword.load(whole.model, device="cpu")
    labels = sightword.load(whole.model, device="cpu", texts="labels")
    captions = sightword.load(whole.model, device="cpu", texts="captions")
    texts = ["a disc", "a bar", "", "a red disc of another kind"]
    assert np.array_equal(usual.embed_texts(texts), captions.embed_texts(texts))
    assert np.abs(usual.embed_texts(texts) - labels.embed_texts(texts)).max() > 1e-3
    assert usual.fingerprint == captions.fingerprint != labels.fingerprint
    # Packed texts, which share the prefix, are those of the tower.
    with torch.inference_mode():
        direct = usual.model.encode_text(labels.tokenizer(texts))
    assert np.abs(labels.embed_texts(texts) - direct.numpy()).max() < 1e-5
    head = usual.classifier(["disc", "bar"], ["a {}"])
    assert len(head.predict([draw("red", "disc", 1)])) == 1


def test_both_rows_learn(page: Path, tmp_path: Path) -> None:
    recipe = read_recipe(page, ["training.decay=0.0"])
    setup = set_up(recipe, data_of(recipe), torch.device("cpu"))
    before = setup.model.text.state_dict()["tokens.weight"][-2:].clone()
    after = weights(train(recipe, tmp_path / "run", data_of(recipe), device="cpu").model.parent)["text.tokens.weight"]
    assert ((after[-2:] - before).abs().amax(dim=1) > 1e-4).all()


def test_a_start_gets_prefixes_and_keeps_them(started: Callable[..., Recipe], tmp_path: Path, checkpoint: Path) -> None:
    recipe = started("training.wise=[0.0, 1.0]", "data.validation=0.3")
    setup = set_up(recipe, data_of(recipe), torch.device("cpu"))
    _, contract, tokenizer = load_checkpoint(checkpoint)
    begun = setup.begun_as["text.tokens.weight"]
    assert begun.shape[0] == contract.architecture.text.vocabulary + 2  # type: ignore[union-attr]
    plain = load_checkpoint(checkpoint)[0].state_dict()["text.tokens.weight"]
    assert torch.equal(begun[:-2], plain)
    # As large as the others, and apart.
    assert 0.5 < begun[-2:].std() / plain.std() < 2
    assert not torch.equal(begun[-2], begun[-1])
    assert setup.built.tokenizer.room == tokenizer.room - 1
    run = train(started(), tmp_path / "run", data_of(started()), device="cpu")
    # A run on captions alone needs no word about them, and begins as that model.
    (tmp_path / "more.toml").write_text(
        START.replace("SOURCES", f'source = "pairs"\npath = "{tmp_path}/captions.tar"')
        .replace("START", str(run.model))
        .replace("prefixes = true", "")
    )
    more = read_recipe(tmp_path / "more.toml")
    again = set_up(more, data_of(more), torch.device("cpu"))
    first, told, _ = load_checkpoint(run.model)
    assert fingerprint(again.model, again.built.contract) == fingerprint(first, told)
    assert again.built.contract.text.prefixes == told.text.prefixes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["data.sources=[]", "data.apart=false", "data.source=emoji"], "it needs [[data.sources]] of both kinds"),
        (
            ["data.sources=[]", "data.source=emoji", "model.text.prefixes=false"],
            "`apart` keeps the sources of a mixture",
        ),
        (["training.positives=pairs", "training.loss=negclip"], "`positives` = 'pairs' is for loss = 'infonce' only"),
        (["training.positives=texts"], "training.positives"),
        (["model.text.tokens=false"], "learn with the tokens, which are locked: set model.text.tokens = true"),
        (["model.lora.rank=2"], "learn with the tokens, which are locked: set model.text.tokens = true"),
    ],
)
def test_what_does_not_go_together(started: Callable[..., Recipe], changes: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=re.escape(message)):
        begin(started, *changes)


def test_other_text_towers_are_refused(
    started: Callable[..., Recipe], tmp_path: Path, encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer
) -> None:
    as_siglip(tmp_path / "siglip", encoder, contract, tokenizer)
    where = f"model.start={tmp_path}/siglip"
    with pytest.raises(RequestError, match=r"model\.text\.prefixes are for text towers like CLIP's"):
        begin(started, where)
    with pytest.raises(RequestError, match="this start has the sigmoid loss"):
        begin(started, where, "model.text.prefixes=false", "training.positives=pairs")


def test_other_layouts_cannot_say_it(page: Path, tmp_path: Path, checkpoint: Path) -> None:
    recipe = read_recipe(page, ["training.steps=1"])
    folder = train(recipe, tmp_path / "run", data_of(recipe), device="cpu").model
    for to in ("open_clip", "transformers"):
        with pytest.raises(RequestError, match="begins with a learned prefix"):
            convert(folder, to, tmp_path / to)  # type: ignore[arg-type]
        assert not (tmp_path / to).exists()
    assert conversions(folder) == []
    assert convert(folder, "native", tmp_path / "copy").text == 0
    with pytest.raises(RequestError, match="this model learned no prefixes"):
        sightword.load(checkpoint, device="cpu", texts="labels")
    told = json.loads((folder / "contract.json").read_text())
    told["text"]["prefixes"]["labels"] = 5
    (folder / "contract.json").write_text(json.dumps(told))
    with pytest.raises(CheckpointError, match="says that 5 is the id of the prefix of labels, but in the tokenizer"):
        sightword.load(folder, device="cpu")
