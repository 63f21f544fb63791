"""How wrong a chosen prompt may be on new pictures: a bound from the very samples on which it was chosen.

PAC-Bayes for prompts: Akinwande, Jiang, Sam and Kolter, "Understanding prompt engineering may not require rethinking
generalization" (ICLR 2024, arXiv 2310.03957). A prompt is one string, so the posterior is a point, and the divergence
from the prior is `nats` = -ln P(prompt). With r the error on n samples, R on all that come from where they came, and
confidence 1 - delta over the draw of the samples, for all prompts at once:

- kl:        n · kl(r || R) <= nats + ln(1 / delta), solved for the largest R; kl of two coins. The tightest.
- Occam:     R <= r + sqrt((nats + ln(1 / delta)) / (2 n)).
- McAllester, as the paper has it: R <= r + sqrt((nats + ln(1 / delta) + 2) / (2 n - 1)).

The first two are the union bound over the prior (Chernoff's and Hoeffding's tail), which a point needs no more than.

They hold if the prior was fixed before these samples were seen and sums to at most 1; the list of candidates was not
made with them; the samples are independent draws; and the model was not trained on them, which of a model trained on
the web nobody knows.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from sightword.errors import RequestError

DELTA = 0.05


@dataclass(frozen=True, slots=True)
class ErrorBound:
    """error: of the n samples on which the prompt was chosen. kl, occam, mcallester: with confidence 1 - delta the
    error on new samples is at most this; 1 says nothing."""

    error: float
    n: int
    nats: float
    delta: float
    kl: float
    occam: float
    mcallester: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def error_bound(errors: int, n: int, nats: float, delta: float = DELTA) -> ErrorBound:
    """errors: samples that the chosen prompt has wrong (top 1), of the n it was chosen on. nats: what it costs under
    the prior (`subset_nats`, `token_nats`)."""
    if n < 1 or not 0 <= errors <= n:
        raise RequestError(f"a bound from {errors} errors of {n} samples: need 0 … n errors of at least one")
    if not (0 < delta < 1 and 0 <= nats < math.inf):
        raise RequestError(f"a bound with delta {delta} and {nats} nats: need 0 < delta < 1, and nats from 0 up")
    error, budget = errors / n, nats - math.log(delta)
    return ErrorBound(
        error=error,
        n=n,
        nats=nats,
        delta=delta,
        kl=_largest(error, budget / n),
        occam=min(1.0, error + math.sqrt(budget / (2 * n))),
        mcallester=min(1.0, error + math.sqrt((budget + 2) / (2 * n - 1))),
    )


def subset_nats(candidates: int, chosen: int) -> float:
    """Of an ensemble of `chosen` templates out of a list of `candidates` that was there before: first their number,
    then which, each as likely as the other."""
    if not 1 <= chosen <= candidates:
        raise RequestError(f"{chosen} templates chosen of {candidates}")
    return math.log(candidates) + math.log(math.comb(candidates, chosen))


def token_nats(tokens: int, vocabulary: int) -> float:
    """Of a string that was searched token by token: each of them, and the end (so that all strings together sum to 1),
    one of `vocabulary` as likely as the other. `tokens` without the end."""
    if tokens < 0 or vocabulary < 2:
        raise RequestError(f"{tokens} tokens of a vocabulary of {vocabulary}")
    return (tokens + 1) * math.log(vocabulary)


def _largest(error: float, budget: float) -> float:
    """The largest R >= error with kl(error || R) <= budget; never below what is true, by the side on which it ends."""
    low, high = error, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _kl(error, middle) <= budget else (low, middle)
    return high


def _kl(p: float, q: float) -> float:
    if q >= 1:
        return 0.0 if p == 1 else math.inf
    there = p * math.log(p / q) if p > 0 else 0.0
    return there + ((1 - p) * math.log((1 - p) / (1 - q)) if p < 1 else 0.0)
