"""The two tests of the emoji benchmark (see `sightword.data.emoji`): styles and names that training never met."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sightword.data.emoji import VENDORS, EmojiBenchmark
from sightword.data.labelled import Labelled
from sightword.data.pairs import Pair, Skipped, fraction_of
from sightword.data.readers.packages import emoji_labelled, emoji_test
from sightword.embedding.base import BaseEmbedder, Vectors
from sightword.evaluation.classification import Outcome, classify
from sightword.evaluation.features import split_features
from sightword.evaluation.rows import Row, share_row

_TRAINED_SAMPLE = 0.2
UNSEEN_VENDORS, UNSEEN_NAMES, TRAINED_ON = "unseen vendors", "unseen names", "trained on"


@dataclass(frozen=True)
class Judged:
    """data: the pictures that could be read; vectors: theirs, [N, D]. outcome: of each prompt. skipped: the others."""

    data: Labelled
    vectors: Vectors
    outcome: Outcome
    skipped: tuple[Skipped, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """rows: the table. by_vendor: top-1 of each vendor, with the test as `test` and the vendor as `split`. tests: by
    name; one without a picture is not there."""

    rows: tuple[Row, ...]
    by_vendor: tuple[Row, ...]
    tests: Mapping[str, Judged]


def evaluate_emoji(
    embedder: BaseEmbedder,
    benchmark: EmojiBenchmark,
    templates: Mapping[str, Sequence[str]],
    trained: Sequence[Pair],
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Both tests with each prompt set, as `sightword evaluate` does them: with the same features, which are kept on
    disk. For comparison, a fifth of the pictures that the model was `trained` on are judged as well."""
    # Salted, because `split` goes by the bare key. Skin tones are no names of the benchmark.
    names = {*benchmark.names}
    sample = [pair for pair in trained if pair.name in names and fraction_of(f"judged {pair.key}") < _TRAINED_SAMPLE]
    tests = {
        UNSEEN_VENDORS: emoji_test(benchmark, "vendors", "test", UNSEEN_VENDORS),
        UNSEEN_NAMES: emoji_test(benchmark, "names", "test", UNSEEN_NAMES),
    }
    if sample:
        tests[TRAINED_ON] = emoji_labelled(sample, benchmark.names, lambda pair: pair.name, "train", TRAINED_ON)
    rows: list[Row] = []
    by_vendor: list[Row] = []
    tested: dict[str, Judged] = {}
    done, total = 0, sum(map(len, tests.values()))
    for test, data in tests.items():

        def report(count: int, before: int = done) -> None:
            if progress:
                progress(before + count, total)

        features = split_features(embedder, data, report)
        report(len(data))  # features from the disk tell nothing
        done += len(data)
        read = data if len(features.rows) == len(data) else data.take(features.rows)
        outcome = classify(embedder, read, features.vectors, templates, ("top1", "top5"))
        tested[test] = Judged(read, features.vectors, outcome, features.skipped)
        if test != TRAINED_ON:
            rows += outcome.rows
        for prompt in templates:
            by_vendor += _vendor_rows(test, prompt, read, outcome)
    return Evidence(tuple(rows), tuple(by_vendor), tested)


def _vendor_rows(test: str, prompt: str, data: Labelled, outcome: Outcome) -> list[Row]:
    hits = outcome.outcomes[f"rank {prompt}"] < 1
    rows: list[Row] = []
    for vendor in VENDORS.values():
        mine = np.array([group == vendor for group in data.groups])
        if mine.any():
            rows.append(
                share_row(test, vendor, prompt, "top1", int(hits[mine].sum()), int(mine.sum()), len(data.classes))
            )
    return rows
