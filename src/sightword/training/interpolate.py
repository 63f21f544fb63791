"""Between a start and what became of it (WiSE-FT: arXiv 2109.01903, equation 1): every weight is (1 - alpha) of the
start's and alpha of the tuned one's. Much of what tuning gained is kept, and much of what it forgot comes back.

The statistics of BatchNorm are interpolated as well, which only approximates those that the mixed network would have;
the scale is interpolated as its logarithm, which is the weight. alpha is chosen on validation data by whoever calls
`choose_alpha`; the tuning and its test know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sightword.checkpoints.contract import Contract
from sightword.config import differences
from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError

Weights = Mapping[str, Tensor]
# The weights of a model to a row of evidence, higher is better: {"value": …, "retention": {"value": …}, …}.
Judge = Callable[[dict[str, Tensor]], dict[str, Any]]


@dataclass(frozen=True)
class Choice:
    """curve: for each alpha that was tried the `score` that decided, and its row. by: what the score is."""

    alpha: float
    by: str
    curve: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "by": self.by, "curve": list(self.curve)}


@torch.no_grad()
def mix(start: Weights, tuned: Weights, alpha: float) -> dict[str, Tensor]:
    """alpha = 0 gives the start and alpha = 1 the tuned weights, both to the bit. What the start has not, or is no
    floating-point number (a count of BatchNorm), is the tuned one's."""
    return {
        name: torch.lerp(start[name], tensor, alpha) if name in start and tensor.is_floating_point() else tensor.clone()
        for name, tensor in tuned.items()
    }


def score_of(row: Mapping[str, Any]) -> float:
    """How good a model is: the value of its row, unless that gives a `score` of several values."""
    return float(row.get("score", row["value"]))


def choose_alpha(start: Weights, tuned: Weights, alphas: Sequence[float], judge: Judge) -> Choice:
    """The alpha with the best score: the row's (see `score_of`), or the mean of that and of its retention's value,
    where there is one. Of equals the smallest, which is the nearest to the start."""
    curve: list[dict[str, Any]] = []
    by = "value"
    for alpha in sorted(alphas):
        row = judge(mix(start, tuned, alpha))
        score, by = score_of(row), "score" if "score" in row else "value"
        if "retention" in row:
            score, by = (score + float(row["retention"]["value"])) / 2, f"mean of {by} and retention.value"
        curve.append({"alpha": alpha, "score": score, "row": row})
    best = max(curve, key=lambda point: point["score"])  # the first of equals
    return Choice(best["alpha"], by, tuple(curve))


def check_alpha(alpha: float) -> None:
    if not 0 <= alpha <= 1:
        raise RequestError(f"alpha is from 0 (the start) to 1 (the tuned model), not {alpha}")


def check_alike(one: Contract, one_tokenizer: Tokenizer, other: Contract, other_tokenizer: Tokenizer) -> None:
    """Raises RequestError, naming the first difference, where weights of the two cannot be mixed: another architecture,
    tokenizer, or treatment of pictures or texts."""
    for part in ("architecture", "image", "text"):
        for key, (mine, yours) in differences(getattr(one, part), getattr(other, part)).items():
            raise RequestError(
                "weights can be interpolated between a model and what was tuned from it, and these two differ in "
                f"{part}.{key}: {mine!r} and {yours!r}"
            )
    if one_tokenizer.engine.to_str() != other_tokenizer.engine.to_str():
        raise RequestError(
            "weights can be interpolated between a model and what was tuned from it, and these two have different "
            "tokenizers: the same id is another word"
        )
