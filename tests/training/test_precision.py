"""A run computes in bfloat16 where that was asked for and a CPU has instructions for it; elsewhere it says so."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from sightword.errors import SightwordWarning
from sightword.training import precision

CPU = torch.device("cpu")


def instructions(monkeypatch: pytest.MonkeyPatch, half: str | None) -> None:
    monkeypatch.setattr(precision, "half_precision", lambda device: half)


@pytest.mark.parametrize(("asked", "expected"), [("auto", False), ("fp32", False), ("bf16", True)])
def test_a_cpu_with_instructions_for_bf16(
    monkeypatch: pytest.MonkeyPatch, asked: Literal["auto", "fp32", "bf16"], expected: bool
) -> None:
    instructions(monkeypatch, "bf16")
    assert precision.in_bf16(asked, CPU) is expected


def test_a_cpu_without_them_computes_in_fp32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    instructions(monkeypatch, None)
    with pytest.warns(SightwordWarning, match="this CPU has no instructions for it, so the run is in fp32"):
        assert not precision.in_bf16("bf16", CPU)
    assert not precision.in_bf16("auto", CPU)


def test_a_gpu_is_asked_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    instructions(monkeypatch, "fp16")  # as Turing
    assert not precision.in_bf16("auto", gpu)
    assert precision.in_bf16("bf16", gpu)
    instructions(monkeypatch, "bf16")
    assert precision.in_bf16("auto", gpu)
