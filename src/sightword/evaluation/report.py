"""The report of a run: one HTML page that needs nothing but itself, for whoever is to judge the model.

Shapes: N pictures, T texts, K kept names, D joint space.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sightword.data.emoji import TRAIN_VENDORS, VENDORS
from sightword.data.images import flatten, open_image
from sightword.data.pairs import Pair, Skipped, fraction_of
from sightword.embedding.embedder import Embedder
from sightword.errors import RequestError
from sightword.evaluation import plots
from sightword.evaluation.emoji import TRAINED_ON, UNSEEN_NAMES, UNSEEN_VENDORS, Evidence
from sightword.evaluation.intervals import wilson
from sightword.evaluation.rows import Row
from sightword.evaluation.zero_shot import Judged, Pictures
from sightword.files import whole_file
from sightword.training.recipe import Recipe, recipe_text

NEIGHBOUR_TEXTS = (
    "a sad face",
    "something to eat",
    "an animal that swims",
    "love",
    "bad weather",
    "a country in Africa",
    "sport with a ball",
    "transport on rails",
)
_OF_EACH = 12  # hits and misses in a gallery
_NEAREST = 8
_SIDE = 72  # pixels of an embedded picture
_LISTED = 20  # skipped pairs
_NBSP = "\N{NO-BREAK SPACE}"
Guess: TypeAlias = tuple[str, float, bool]  # a name, its score, whether it is the true one


@dataclass(frozen=True)
class Run:
    """What made a model. minutes: `setup`, `training`, `total`. events: the lines of log.jsonl. skipped: pairs that
    training left out."""

    recipe: Recipe
    versions: dict[str, str]
    machine: str
    minutes: dict[str, float]
    skipped: int
    events: tuple[dict[str, Any], ...]
    parameters: int


@dataclass(frozen=True)
class _Result:
    """A line of the table of results: `row` for what the two have in common."""

    row: Row
    top1: Row | None
    top5: Row | None


@dataclass(frozen=True)
class _Card:
    """A picture that was judged. place: of the true name among all, from 1; best: the first five names."""

    picture: str
    name: str
    vendor: str
    hit: bool
    place: int
    best: tuple[Guess, ...]


@dataclass(frozen=True)
class _Gallery:
    test: str
    cards: tuple[_Card, ...]
    hits: int
    n: int
    names: int
    mean_score: float  # of the best name
    claim: str  # what the mean score is, as a confidence


@dataclass(frozen=True)
class _Near:
    picture: str
    name: str
    vendor: str
    cosine: float


@dataclass(frozen=True)
class _VendorLine:
    """cells: one a column of the table, None where the vendor has no such pictures."""

    vendor: str
    trained: bool
    cells: tuple[Row | None, ...]


def check_packages() -> None:
    """Raise RequestError where a package that the report needs is missing: better before a training than after it."""
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise RequestError(f"the report needs {package}: pip install 'sightword[train]'")


def write_report(path: Path, run: Run, evidence: Evidence, embedder: Embedder) -> None:
    """Write the page whole, or not at all. Raises RequestError where Jinja or Matplotlib is missing."""
    check_packages()
    prompt = _main_prompt(evidence)
    page = _render(
        title=run.recipe.title,
        lead=_lead(evidence, prompt),
        prompt=prompt,
        results=_results(evidence.rows),
        sentences={"plain": run.recipe.evaluation.plain, "ensemble": run.recipe.evaluation.ensemble},
        galleries=[
            _gallery(test, evidence.pictures[test], evidence.judged[test, prompt])
            for test in (UNSEEN_VENDORS, UNSEEN_NAMES)
            if test in evidence.pictures and evidence.pictures[test].pairs
        ],
        curves=_present(
            plots.loss_chart(run.events),
            plots.validation_chart(run.events),
            plots.learning_rate_chart(run.events),
            plots.temperature_chart(run.events),
        ),
        validated=any(event["event"] == "validation" for event in run.events),
        vendor_charts=_vendor_charts(evidence.by_vendor, prompt),
        vendor_columns=_vendor_columns(evidence.by_vendor),
        vendor_lines=_vendor_lines(evidence.by_vendor),
        shift=_shift(evidence, prompt),
        neighbours=_neighbours(evidence, embedder),
        facts=_facts(run),
        versions=run.versions,
        recipe=recipe_text(run.recipe),
        skipped=_skipped(run, evidence),
        listed=_LISTED,
        of_each=_OF_EACH,
        owners=sorted(VENDORS.values()),
    )
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _render(**values: Any) -> str:
    from jinja2 import Environment, StrictUndefined

    # Names, keys and reasons come from data: all of them are escaped.
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "interval": _interval, "count": _count, "score": _score}
    source = files("sightword.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(**values)


def _percent(share: float) -> str:
    return f"{100 * share:.1f}{_NBSP}%"


def _interval(row: Row) -> str:
    return f"{100 * row.low:.1f}–{100 * row.high:.1f}"


def _count(number: int) -> str:
    return f"{number:,}"


def _score(share: float) -> str:
    # A softmax over many names leaves scores that would all be rounded to nothing.
    return f"<{_NBSP}0.1" if share < 0.0005 else f"{100 * share:.1f}"


def _main_prompt(evidence: Evidence) -> str:
    """The prompt that the sentence, the galleries and the charts use: always the same, not the better of the two."""
    prompts = [row.prompt for row in evidence.rows]
    return prompts[0] if prompts and "ensemble" not in prompts else "ensemble"


def _find(rows: Iterable[Row], test: str, prompt: str, split: str) -> Row | None:
    """The top-1 row with some pictures in it."""
    wanted = (test, prompt, split, "top1")
    return next((row for row in rows if (row.test, row.prompt, row.split, row.metric) == wanted and row.n), None)


def _lead(evidence: Evidence, prompt: str) -> list[tuple[str, str, Row]]:
    """What was measured, as (words before the share, words after it, row): one for each test with pictures."""
    groups = sorted({VENDORS.get(pair.group, pair.group) for pair in _pairs(evidence, UNSEEN_VENDORS)})
    styles = " and ".join(groups) if len(groups) < 3 else f"{len(groups)} vendors"
    after = {
        UNSEEN_VENDORS: f"of pictures in drawing styles that it never saw ({styles})",
        UNSEEN_NAMES: "of pictures whose names it never saw",
    }
    found = [(words, _find(evidence.rows, test, prompt, "test")) for test, words in after.items()]
    return [("and" if i else "The model names", words, row) for i, (words, row) in enumerate(found) if row]


def _pairs(evidence: Evidence, test: str) -> tuple[Pair, ...]:
    return evidence.pictures[test].pairs if test in evidence.pictures else ()


def _results(rows: Sequence[Row]) -> list[_Result]:
    lines: dict[tuple[str, str, str], dict[str, Row]] = {}
    for row in rows:
        lines.setdefault((row.test, row.split, row.prompt), {})[row.metric] = row
    return [_Result(next(iter(line.values())), line.get("top1"), line.get("top5")) for line in lines.values()]


def _gallery(test: str, pictures: Pictures, judged: Judged) -> _Gallery:
    """Hits and misses in the order of a hash of their keys, so that nobody and nothing chose the good ones."""
    hits_N = judged.hits(1)
    order = sorted(range(len(pictures.pairs)), key=lambda i: fraction_of(pictures.pairs[i].key))
    chosen = [i for i in order if hits_N[i]][:_OF_EACH] + [i for i in order if not hits_N[i]][:_OF_EACH]
    cards: list[_Card] = []
    for i in chosen:
        pair = pictures.pairs[i]
        best: list[Guess] = [
            (judged.names[name], float(score), name == judged.truth[i])
            for name, score in zip(judged.best[i], judged.scores[i], strict=True)
        ]
        cards.append(
            _Card(
                picture=_thumbnail(pair),
                name=pair.name,
                vendor=VENDORS.get(pair.group, pair.group),
                hit=bool(hits_N[i]),
                place=int(judged.rank[i]) + 1,
                best=tuple(best),
            )
        )
    hits, mean = int(hits_N.sum()), float(judged.scores[:, 0].mean())
    low, high = wilson(hits, len(hits_N))
    claim = "too low" if mean < low else "too high" if mean > high else "about right"
    return _Gallery(test, tuple(cards), hits, len(hits_N), len(judged.names), mean, claim)


def _thumbnail(pair: Pair) -> str:
    """The picture, small and drawn on white, as a data URI."""
    picture = flatten(open_image(pair.image), (255, 255, 255))
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=True)
    return plots.data_uri("image/png", buffer.getvalue())


def _present(*charts: plots.Chart | None) -> list[plots.Chart]:
    return [chart for chart in charts if chart is not None]


def _vendors_of(rows: Sequence[Row]) -> list[str]:
    """Trained styles first, each group by name."""
    vendors = {row.split for row in rows}
    return sorted(vendors, key=lambda vendor: (vendor not in TRAIN_VENDORS, VENDORS.get(vendor, vendor)))


def _seen_names(rows: Sequence[Row], vendor: str, prompt: str) -> Row | None:
    return _find(rows, TRAINED_ON if vendor in TRAIN_VENDORS else UNSEEN_VENDORS, prompt, vendor)


def _vendor_charts(rows: Sequence[Row], prompt: str) -> list[plots.Chart]:
    charts: list[plots.Chart] = []
    vendors = _vendors_of(rows)
    for title, found in (
        ("Names that training saw", [(vendor, _seen_names(rows, vendor, prompt)) for vendor in vendors]),
        ("Names that training never saw", [(vendor, _find(rows, UNSEEN_NAMES, prompt, vendor)) for vendor in vendors]),
    ):
        bars = [(VENDORS.get(vendor, vendor), vendor in TRAIN_VENDORS, row) for vendor, row in found if row]
        if bars:
            classes = max(row.classes for _, _, row in bars)
            charts.append(plots.vendor_chart(bars, title, f"Top-1 among {classes:,} names, with 95{_NBSP}% intervals."))
    return charts


def _vendor_columns(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """(whether the names were seen, prompt) of each column of the vendors' table."""
    prompts = list(dict.fromkeys(row.prompt for row in rows))
    return [(names, prompt) for names in ("seen", "unseen") for prompt in prompts]


def _vendor_lines(rows: Sequence[Row]) -> list[_VendorLine]:
    columns = _vendor_columns(rows)
    return [
        _VendorLine(
            vendor=VENDORS.get(vendor, vendor),
            trained=vendor in TRAIN_VENDORS,
            cells=tuple(
                _seen_names(rows, vendor, prompt) if names == "seen" else _find(rows, UNSEEN_NAMES, prompt, vendor)
                for names, prompt in columns
            ),
        )
        for vendor in _vendors_of(rows)
    ]


def _shift(evidence: Evidence, prompt: str) -> tuple[float, float] | None:
    """Top-1 on seen names in trained and in unseen styles, all vendors together."""
    shares = [
        float(evidence.judged[test, prompt].hits(1).mean())
        for test in (TRAINED_ON, UNSEEN_VENDORS)
        if _pairs(evidence, test)
    ]
    return (shares[0], shares[1]) if len(shares) == 2 else None


def _neighbours(evidence: Evidence, embedder: Embedder) -> list[tuple[str, list[_Near]]]:
    """For each text, the nearest pictures of both tests."""
    tests = [evidence.pictures[test] for test in (UNSEEN_VENDORS, UNSEEN_NAMES) if test in evidence.pictures]
    pairs = [pair for pictures in tests for pair in pictures.pairs]
    if not pairs:
        return []
    text_TD = embedder.embed_texts(NEIGHBOUR_TEXTS, truncate=True)
    cosine_TN = text_TD @ np.concatenate([pictures.vectors for pictures in tests]).T
    found: list[tuple[str, list[_Near]]] = []
    for text, cosine_N in zip(NEIGHBOUR_TEXTS, cosine_TN, strict=True):
        nearest = np.argsort(-cosine_N, kind="stable")[:_NEAREST]
        found.append((text, [_near(pairs[i], float(cosine_N[i])) for i in nearest]))
    return found


def _near(pair: Pair, cosine: float) -> _Near:
    return _Near(_thumbnail(pair), pair.name, VENDORS.get(pair.group, pair.group), cosine)


def _facts(run: Run) -> dict[str, str]:
    training = run.recipe.training
    steps = [event for event in run.events if event["event"] == "step"]
    facts = {
        "parameters": _count(run.parameters),
        "training": f"{training.steps:,} steps of {training.batch_size:,} pairs",
        "seed": str(run.recipe.seed),
        "licence": run.recipe.licence,
        "machine": run.machine,
        "minutes": ", ".join(f"{name} {minutes:.1f}" for name, minutes in run.minutes.items()),
    }
    if steps:
        rate_N = np.array([event["images_per_s"] for event in steps])
        waiting_N = np.array([event["waiting"] for event in steps])
        # Steps between two log lines are equally many, so a line's time goes with the inverse of its rate.
        waiting = float(np.average(waiting_N, weights=1 / np.maximum(rate_N, 1e-9)))
        facts["speed"] = f"{np.median(rate_N):,.1f} images/s (median), {_percent(waiting)} of the time waiting for data"
    return facts | {"skipped pairs": _count(run.skipped)}


def _skipped(run: Run, evidence: Evidence) -> dict[str, list[Skipped]]:
    """What was left out, by where."""
    trained = [Skipped(event["key"], event["reason"]) for event in run.events if event["event"] == "skipped"]
    judged = {test: list(pictures.skipped) for test, pictures in evidence.pictures.items()}
    return {where: skipped for where, skipped in ({"training": trained} | judged).items() if skipped}
