"""The two tests of the emoji benchmark (see `sightword.data.emoji`): styles and names that training never met."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sightword.data.emoji import VENDORS, EmojiBenchmark
from sightword.data.pairs import Pair, fraction_of
from sightword.embedding.embedder import Embedder
from sightword.evaluation.rows import Row, share_row
from sightword.evaluation.zero_shot import Judged, Pictures, Templates, accuracy_rows, embed_pairs, judge

_TRAINED_SAMPLE = 0.2
UNSEEN_VENDORS, UNSEEN_NAMES, TRAINED_ON = "unseen vendors", "unseen names", "trained on"


@dataclass(frozen=True)
class Evidence:
    """rows: the table. pictures and judged: by test, and by (test, prompt). by_vendor: top-1 of each vendor, with the
    test as `test` and the vendor as `split`."""

    rows: tuple[Row, ...]
    by_vendor: tuple[Row, ...]
    pictures: dict[str, Pictures]
    judged: dict[tuple[str, str], Judged]


def evaluate_emoji(
    embedder: Embedder,
    benchmark: EmojiBenchmark,
    templates: Templates,
    trained: Sequence[Pair],
    progress: Callable[[int, int], None] | None = None,
) -> Evidence:
    """Both tests with each prompt set. For comparison, a fifth of the pictures that the model was `trained` on are
    judged as well."""
    # Salted, because `split` goes by the bare key.
    trained = [pair for pair in trained if fraction_of(f"judged {pair.key}") < _TRAINED_SAMPLE]
    tests: dict[str, tuple[list[Pair], tuple[str, ...]]] = {
        UNSEEN_VENDORS: (list(benchmark.unseen_vendors.pairs), benchmark.names),
        UNSEEN_NAMES: (list(benchmark.unseen_names.pairs), benchmark.unseen),
        TRAINED_ON: (trained, benchmark.names),
    }
    rows: list[Row] = []
    by_vendor: list[Row] = []
    pictures: dict[str, Pictures] = {}
    judged: dict[tuple[str, str], Judged] = {}
    done, total = 0, sum(len(pairs) for pairs, _ in tests.values())
    for test, (pairs, names) in tests.items():
        before = done

        def report(count: int, before: int = before) -> None:
            if progress:
                progress(before + count, total)

        pictures[test] = embed_pairs(embedder, pairs, report)
        done += len(pairs)
        for prompt, sentences in templates.items():
            outcome = judged[test, prompt] = judge(embedder, pictures[test], names, sentences)
            if test != TRAINED_ON:
                rows += accuracy_rows(test, "test", prompt, outcome)
            by_vendor += _vendor_rows(test, prompt, pictures[test], outcome)
    return Evidence(tuple(rows), tuple(by_vendor), pictures, judged)


def _vendor_rows(test: str, prompt: str, pictures: Pictures, judged: Judged) -> list[Row]:
    hits = judged.hits(1)
    rows: list[Row] = []
    for vendor in VENDORS:
        mine = [i for i, pair in enumerate(pictures.pairs) if pair.group == vendor]
        if mine:
            rows.append(share_row(test, vendor, prompt, "top1", int(hits[mine].sum()), len(mine), len(judged.names)))
    return rows
