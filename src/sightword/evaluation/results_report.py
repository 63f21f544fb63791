"""The report of results: one HTML page from records, with every figure beside it as PNG and SVG.

Nothing is measured here, and no figure is chosen for being good: what is shown in detail is always of the plain prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from sightword import __version__
from sightword.data.corruptions import CORRUPTIONS, STRENGTHS
from sightword.errors import RequestError
from sightword.evaluation import results_charts as draw
from sightword.evaluation.across_charts import across_charts
from sightword.evaluation.charts import Chart
from sightword.evaluation.compare import Line, Table, names_of, tabulate, test_of
from sightword.evaluation.comparison import Comparison, in_words
from sightword.evaluation.dense_charts import label_set_chart, pixel_reliability_chart
from sightword.evaluation.figures import replace_figures
from sightword.evaluation.gallery import OF_EACH
from sightword.evaluation.layer_names import DISTANCE, GRADIENT
from sightword.evaluation.layers_charts import layer_charts
from sightword.evaluation.page import check_packages, percent, render, write_page
from sightword.evaluation.records import Record
from sightword.evaluation.retrieval_examples import SHOWN
from sightword.evaluation.retrieval_task import GAINED
from sightword.evaluation.rows import Row
from sightword.evaluation.shift_charts import shift_charts, shifts_of
from sightword.evaluation.shifts import EFFECTIVE, RELATIVE
from sightword.evaluation.spec import VIDEO_METRIC
from sightword.evaluation.suites import Missing
from sightword.evaluation.videos import PM0, PM10

TASK_TITLES = {
    "zero-shot": "Zero-shot",
    "prompt-choice": "Zero-shot by chosen prompts",
    "retrieval": "Retrieval",
    "choice": "Choice",
    "composed": "Composed retrieval",
    "linear": "Linear probe",
    "few-shot": "Few-shot probes",
    "robustness": "Robustness",
    "segmentation": "Segmentation",
    "layers": "Layers of the text tower",
}
METRICS = {
    "top1": "the best name (of a choice: the best option) is the true one; a tie is not",
    "mean_per_kind": "top-1 of each kind of question, and their mean, so that every kind counts as much",
    "top5": "the true name is among the five best",
    "top1_top5_mean": "the mean of top1 and top5",
    "mean_per_class": "top-1 of each class, and their mean, so that every class counts as much",
    "map11": "mean average precision of the classes, at 11 points of recall",
    "map": "mean average precision of the classes, at all points",
    "roc_auc": "the area under the ROC curve",
    VIDEO_METRIC: "the mean of pm0 and pm10",
    PM0: "the best name of an anchor frame is one that is true",
    PM10: "so is that of all reviewed frames at most ten before or after it; a guess hardly ever is",
    "miou": "intersection over union of each name's pixels, and their mean over the names that some picture holds",
    "miou_foreground": "the same without the background",
    "fb_iou": "the mean of two: all names but the background as one, and the background",
    "boundary_iou": "as miou, of the bands along the borders of the masks (2 % of the picture's diagonal)",
    "pixel_accuracy": "the share of pixels that are right",
    EFFECTIVE: "top-1 under a shift, beyond what probes lead to expect of the accuracy without it, as a difference",
    RELATIVE: "top-1 under a shift, less that of the probe that is best without it, on the same pictures",
}
_FEW = 20  # classes that are all listed; of more, the ten worst and the ten best
_EACH_END = 10


@dataclass(frozen=True)
class Cells:
    """Accuracy by kind of corruption (lines) and strength (columns)."""

    clean: Row
    kinds: tuple[tuple[str, tuple[Row, ...]], ...]
    groups: tuple[Row, ...]


@dataclass(frozen=True)
class Part:
    """What one model got on one test. shown: of the details, those of the prompt that is shown; of masks, all."""

    model: str
    record: Record
    shown: Mapping[str, Any]
    gallery: Mapping[str, Any] | None
    cells: Cells | None

    @property
    def classes(self) -> list[tuple[str, list[Mapping[str, Any]]]]:
        """(heading, classes) of the lists by class; two where there are many."""
        every = self.shown.get("classes", [])
        if not every:
            return []
        order = sorted(every, key=lambda one: (one["value"], -one["n"], one["name"]))
        if len(order) <= _FEW:
            return [("All classes, the worst first", order)]
        best = sorted(every, key=lambda one: (-one["value"], -one["n"], one["name"]))
        return [
            (f"The {_EACH_END} worst of {len(order):,} classes", order[:_EACH_END]),
            (f"The {_EACH_END} best", best[:_EACH_END]),
        ]

    @property
    def shifts(self) -> list[Mapping[str, Any]]:
        return shifts_of(self.record.details)

    @property
    def calibrations(self) -> list[tuple[str, Mapping[str, Any]]]:
        """(prompt, what was found), of every prompt."""
        prompts = self.record.settings.get("prompts", {})
        found = [(prompt, self.record.details.get(prompt, {}).get("calibration")) for prompt in prompts]
        return [(prompt, calibration) for prompt, calibration in found if calibration]


@dataclass(frozen=True)
class Test:
    """A task on a data set, done in one way. prompt: the one whose details are shown; empty where there is none."""

    task: str
    settings: Mapping[str, Any]
    prompt: str
    parts: tuple[Part, ...]
    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class DataSet:
    """data: of the first record."""

    anchor: str
    data: Mapping[str, Any]
    tests: list[Test] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Of the classes: all where the record has them, and else those with a picture."""
        if "names" in self.data:
            return list(self.data["names"])
        found = (part.shown.get("classes", []) for test in self.tests for part in test.parts)
        return [one["name"] for one in next((classes for classes in found if classes), [])]


def write_results_report(
    path: Path,
    records: Sequence[Record],
    comparisons: Sequence[Comparison] = (),
    missing: Sequence[Missing] = (),
    remarks: Sequence[str] = (),
) -> None:
    """The page, and NAME-figures/ beside it, in place of those of an older page. comparisons: of `compare_all`.
    remarks: of how the records were made. Raises RequestError where there is no record, Jinja or Matplotlib is missing,
    or a file that no report wrote is in the way of a figure."""
    check_packages()
    if not records:
        raise RequestError("there are no results, and no report of them")
    table = tabulate(records)
    lines = sorted(table.lines, key=lambda line: (line.data, list(TASK_TITLES).index(line.task)))
    sets = _data_sets(records)
    across = across_charts(records)
    page = render(
        "results_report.html.j2",
        title=f"Evaluation of {table.models[0] if len(table.models) == 1 else f'{len(table.models)} models'}",
        lead=_lead(table, comparisons, records),
        table=table,
        own=[line for line in lines if line.own and _is_share(line)],
        others=[line for line in lines if not line.own and _is_share(line)],
        draws=any(record.task == "few-shot" for record in records),
        guessing=guessing,
        metrics={name: words for name, words in METRICS.items() if any(line.metric == name for line in table.lines)},
        missing=missing,
        remarks=remarks,
        across=across,
        comparisons=comparisons,
        in_words=in_words,
        sets=sets,
        titles=TASK_TITLES,
        strengths=STRENGTHS,
        of_each=OF_EACH,
        retrieved=SHOWN,
        chosen=any(record.task == "prompt-choice" for record in records),
        made_with=_made_with(records),
        records=records,
        names=names_of(records),
        version=__version__,
    )
    charts = {_file_name(f"across {number} {chart.title}"): chart for number, chart in enumerate(across, start=1)}
    for one in sets:
        for number, test in enumerate(one.tests, start=1):
            charts |= {_file_name(f"{one.anchor} {number} {test.task} {chart.title}"): chart for chart in test.charts}
    replace_figures(path.with_name(f"{path.stem}-figures"), charts)
    write_page(path, page)


def _is_share(line: Line) -> bool:
    """Not by shift, no difference, and of layers what probes have right: the rest is told where it belongs."""
    drawn = line.metric in (DISTANCE, GRADIENT)
    return line.task != "robustness" and not drawn and not line.metric.endswith(GAINED)


def _made_with(records: Sequence[Record]) -> list[str]:
    """Each set of versions and device with how many of the records are of it, and when."""
    by_words: dict[str, list[str]] = {}
    for record in records:
        said = record.environment
        words = "; ".join(f"{key} {said[key]}" for key in ("sightword", "torch", "numpy", "python") if key in said)
        where = ", ".join(str(said[key]) for key in ("precision", "device") if key in said)
        by_words.setdefault(f"{words}; {where}" if said else "versions that were not noted", []).append(
            str(said.get("date", ""))[:10]
        )
    found: list[str] = []
    for words, dates in by_words.items():
        days = " to ".join(dict.fromkeys((min(dates), max(dates))))
        count = f"{len(dates):,} record{'s' * (len(dates) != 1)}"
        found.append(f"{words} ({', '.join(filter(None, (count, days)))})")
    return found


def guessing(line: Line) -> float | None:
    """What a guess among the classes would reach; None where the metric has no such number."""
    if line.task in ("retrieval", "composed"):
        return None
    one, five = 1 / line.classes, min(1.0, 5 / line.classes)
    by_metric = {
        "top1": one,
        PM0: one,
        "mean_per_class": one,
        "mean_per_kind": one,
        "top5": five,
        "top1_top5_mean": (one + five) / 2,
        "roc_auc": 0.5,
    }
    return by_metric.get(line.metric)


def _lead(table: Table, comparisons: Sequence[Comparison], records: Sequence[Record]) -> list[str]:
    """Sentences."""
    pictures = {record.data["fingerprint"]: record.data["count"] for record in records}
    who = table.models[0] if len(table.models) == 1 else f"{len(table.models)} models"
    were = "was" if len(table.models) == 1 else "were"
    sets = f"{len(pictures)} data sets" if len(pictures) > 1 else f"the data set {records[0].data['name']}"
    said = [f"{who} {were} measured on {sets} ({sum(pictures.values()):,} test pictures)."]
    plain = [line for line in table.lines if line.own and line.task == "zero-shot" and line.prompt == "plain"]
    for place, model in enumerate(table.models):
        rows = [(line.data, guessing(line), row) for line in plain if (row := line.cells[place])]
        if not rows:
            continue
        rows.sort(key=lambda one: one[2].value)
        (worst, _, low), (best, _, high) = rows[0], rows[-1]
        begun = "With one plain sentence, the same for every data set," if not place else "With the same sentence,"
        whose = "its figure" if len(table.models) == 1 else f"the figure of {model}"
        if len(rows) == 1:
            said.append(f"{begun} {whose} is {percent(low.value)} ({_interval(low)}).")
        else:
            said.append(
                f"{begun} {whose} goes from {percent(low.value)} ({worst}) to {percent(high.value)} ({best})."
            )  # fmt: skip
        known = [row.low > guess for _, guess, row in rows if guess is not None]
        if known:
            said.append(f"Its 95 % interval lies above what guessing would reach on {sum(known)} of {len(known)}.")
    if comparisons:
        settled = sum(one.settled for one in comparisons)
        said.append(
            f"Of {len(comparisons)} paired comparisons, {settled} differ by more than the choice of pictures makes."
        )
    return said


def _interval(row: Row) -> str:
    return f"95 % interval {100 * row.low:.1f} to {100 * row.high:.1f}"


def _data_sets(records: Sequence[Record]) -> list[DataSet]:
    names = names_of(records)
    order = sorted(records, key=lambda record: (_whose(record), list(TASK_TITLES).index(record.task), test_of(record)))
    sets: list[DataSet] = []
    for number, (_, of_data) in enumerate(groupby(order, key=_whose), start=1):
        for _, same in groupby(of_data, key=test_of):
            by_model = {record.model["fingerprint"]: record for record in same}
            ordered = [(name, by_model[fingerprint]) for fingerprint, name in names.items() if fingerprint in by_model]
            first = ordered[0][1]
            if len(sets) < number:
                sets.append(DataSet(f"{number:02d} {first.data['name']}", first.data))
            sets[-1].tests.append(_test(ordered))
    return sets


def _whose(record: Record) -> tuple[str, str]:
    return record.data["name"], record.data["fingerprint"]


def _test(found: Sequence[tuple[str, Record]]) -> Test:
    first = found[0][1]
    prompts = [prompt for prompt in first.settings.get("prompts", ()) if prompt in first.details]
    prompt = "plain" if "plain" in prompts else prompts[0] if prompts else ""
    parts = tuple(
        Part(
            model,
            record,
            record.details.get(prompt) or record.details.get("masks", {}),
            record.details.get("galleries", {}).get(prompt),
            _cells(record) if "corruptions" in record.details else None,
        )
        for model, record in found
    )
    return Test(first.task, first.settings, prompt, parts, tuple(_charts(parts)))


def _cells(record: Record) -> Cells:
    rows = [Row(**row) for row in record.details["corruptions"]["rows"]]
    by_split = {row.split: row for row in rows}
    kinds = [(kind, tuple(by_split[f"{kind} {strength}"] for strength in STRENGTHS)) for kind in CORRUPTIONS]
    elsewhere = (*by_split, "corrupted", "reference")
    groups = tuple(row for row in record.rows if row.metric == "top1" and row.split not in elsewhere)
    return Cells(by_split["clean"], tuple(kinds), groups)


def _charts(parts: Sequence[Part]) -> list[Chart]:
    made: list[Chart] = []
    many = [(part.model, part.shown["classes"]) for part in parts if len(part.shown.get("classes", ())) > _FEW]
    if many and "diagnostics" in parts[0].shown:
        made.append(draw.class_chart(many, "IoU", "IoU by class"))
    elif many:
        made.append(draw.class_chart(many))
    diagnosed = [(part.model, found) for part in parts if (found := part.shown.get("diagnostics"))]
    if diagnosed:
        made += [label_set_chart(diagnosed), pixel_reliability_chart(diagnosed)]
    for part in parts:
        if "calibration" in part.shown:
            title = f"Reliability of {part.model}" if len(parts) > 1 else "Reliability"
            made.append(draw.reliability_chart(part.shown["calibration"], title))
    risks = [(part.model, part.shown["risk_coverage"]) for part in parts if "risk_coverage" in part.shown]
    if risks:
        made.append(draw.risk_chart(risks))
    paths = [(part.model, part.record.details) for part in parts if "path" in part.record.details]
    if paths:
        made.append(draw.path_chart(paths))
    curves = [(part.model, part.record.details["few_shot"]) for part in parts if "few_shot" in part.record.details]
    if curves:
        made.append(draw.few_shot_chart(curves))
    ranked = [(part.model, part.record.details) for part in parts if "retrieval" in part.record.details]
    # Captions that are all of one length have one band, and no figure.
    if any(len(details["retrieval"]["by_length"]) > 1 for _, details in ranked):
        made.append(draw.length_chart(ranked))
    corrupted = [(part.model, _by_strength(part.cells)) for part in parts if part.cells]
    if corrupted:
        made.append(draw.corruption_chart(corrupted))
    if "layers" in parts[0].record.details:
        made += layer_charts([(part.model, part.record) for part in parts])
    return [*made, *shift_charts([(part.model, part.record.details) for part in parts])]


def _by_strength(cells: Cells) -> list[float]:
    """The mean over the kinds, of the clean pictures and of each strength."""
    columns = zip(*(rows for _, rows in cells.kinds), strict=True)
    return [cells.clean.value, *(sum(row.value for row in column) / len(column) for column in columns)]


def _file_name(words: str) -> str:
    """What a name from data leaves of itself in a file's."""
    kept = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "_-") else "-" for sign in words.lower())
    return kept[:150]
