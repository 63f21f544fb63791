"""What every family's weights go through: the check of their values, the model that they are put into."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sightword.checkpoints.weights import check_weights
from sightword.errors import CheckpointError

LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize(
    "broken", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf], [LARGEST, LARGEST, torch.nan]]
)
@pytest.mark.parametrize("position", [0, 500, 995])
def test_no_value_that_is_none_passes(broken: list[float], position: int) -> None:
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    tensor[position : position + len(broken)] = torch.tensor(broken)
    with pytest.raises(CheckpointError, match="'w' holds NaN or infinity"):
        check_weights({"w": tensor}, {"w": tensor}, Path("file"), "config")


def test_finite_values_pass_though_their_sum_is_not() -> None:
    for tensor in (torch.full((1000,), LARGEST), torch.zeros(0), torch.tensor(-LARGEST)):
        check_weights({"w": tensor}, {"w": tensor}, Path("file"), "config")


def test_loading_imports_nothing_that_it_does_not_need(checkpoint: Path) -> None:
    heavy = ["torch._dynamo", "sympy", "huggingface_hub", "transformers", "yaml", "matplotlib", "pyarrow"]
    code = f"""
import sys, sightword
model = sightword.load({str(checkpoint)!r}, device="cpu")
model.embed_texts(["a red circle"])
sys.exit(", ".join(name for name in {heavy} if name in sys.modules))
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert made.stderr.strip() == ""
