"""Heads on disk: the same as computed, for the same model, labels and templates alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightword.embedding.embedder import Embedder
from sightword.labels import kept_heads, zero_shot
from sightword.labels.zero_shot import zero_shot_head
from sightword.model import load

LABELS, TEMPLATES = ["a star", "a red circle"], ["{}", "a drawing of {}"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the heads, in which every head is kept."""
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path))
    monkeypatch.setattr(zero_shot, "_WORTH", 1)
    return tmp_path / "heads"


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many texts each call of embed_texts was given."""
    calls: list[int] = []
    original = Embedder.embed_texts

    def counted(self: Embedder, texts: Sequence[str], *rest: Any, **options: Any) -> np.ndarray:
        calls.append(len(texts))
        return original(self, texts, *rest, **options)

    monkeypatch.setattr(Embedder, "embed_texts", counted)
    return calls


def test_another_process_reads_what_one_computed(cache: Path, checkpoint: Path, embedded: list[int]) -> None:
    first = zero_shot_head(load(checkpoint, precision="fp32"), LABELS, TEMPLATES)
    again = zero_shot_head(load(checkpoint, precision="fp32"), LABELS, TEMPLATES)
    assert embedded == [4]
    assert len(list(cache.iterdir())) == 1
    np.testing.assert_array_equal(first, again)


def test_whatever_makes_another_head_makes_another_file(cache: Path, checkpoint: Path) -> None:
    model = load(checkpoint, precision="fp32")
    zero_shot_head(model, LABELS, TEMPLATES)
    zero_shot_head(model, LABELS[::-1], TEMPLATES)
    zero_shot_head(model, LABELS, TEMPLATES[:1])
    zero_shot_head(load(checkpoint, precision="bf16"), LABELS, TEMPLATES)
    other = load(checkpoint, precision="fp32")
    with torch.no_grad():
        next(other.model.text.parameters()).add_(0.01)
    zero_shot_head(other, LABELS, TEMPLATES)
    assert len(list(cache.iterdir())) == 5


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY\x01\x00", None])
def test_a_damaged_file_is_made_again(cache: Path, checkpoint: Path, embedded: list[int], damage: bytes | None) -> None:
    head = zero_shot_head(load(checkpoint), LABELS, TEMPLATES)
    (file,) = cache.iterdir()
    if damage is None:
        np.save(file, head * 2)  # no unit vectors
    else:
        file.write_bytes(damage)
    np.testing.assert_array_equal(zero_shot_head(load(checkpoint), LABELS, TEMPLATES), head)
    assert len(embedded) == 2
    np.testing.assert_array_equal(np.load(file), head)


def test_a_cache_that_cannot_be_written_costs_nothing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zero_shot, "_WORTH", 1)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path / "file"))
    assert zero_shot_head(load(checkpoint), LABELS, TEMPLATES).shape[0] == 2


def test_few_prompts_and_an_empty_setting_keep_nothing(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGHTWORD_CACHE", str(tmp_path))
    zero_shot_head(load(checkpoint), LABELS, TEMPLATES)
    monkeypatch.setenv("SIGHTWORD_CACHE", "")
    monkeypatch.setattr(zero_shot, "_WORTH", 1)
    zero_shot_head(load(checkpoint), LABELS, TEMPLATES)
    assert not list(tmp_path.iterdir())


def test_the_oldest_go(cache: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_heads, "KEPT", 2)
    model = load(checkpoint)
    for label in ("a star", "a red circle", "a green square"):
        zero_shot_head(model, [label], TEMPLATES[:1])
    assert len(list(cache.iterdir())) == 2
