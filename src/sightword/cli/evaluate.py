"""`sightword evaluate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from sightword.cli.options import Device, Json, Precision
from sightword.errors import RequestError


def evaluate(
    *models: Annotated[str, Parameter(help="Checkpoint folders, or repositories of the Hub.", negative=())],
    suite: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative=(), help="Suites, data sets by name, or your own folder or table."),
    ] = None,
    data: Annotated[Path | None, Parameter(help="The folder of the data sets.")] = None,
    task: Annotated[
        list[Literal["zero-shot", "retrieval", "choice", "composed", "robustness", "segmentation", "layers"]] | None,
        Parameter(consume_multiple=True, negative=(), help="Each data set's own otherwise."),
    ] = None,
    probe: Annotated[
        list[Literal["linear", "few-shot"]] | None,
        Parameter(consume_multiple=True, negative=(), help="Train on the training split, measure on the test."),
    ] = None,
    prompts: Annotated[
        str | None,
        Parameter(help="`choose` also measures by prompts chosen on validation pictures; or a file to choose from."),
    ] = None,
    out: Annotated[Path, Parameter(help="The folder of the results; what is there is kept.")] = Path("results"),
    report: Annotated[Path | None, Parameter(help="Write them as an HTML page, with its figures beside it.")] = None,
    compare: Annotated[bool, Parameter(negative=(), help="Only show what is in --out.")] = False,
    seed: Annotated[int, Parameter(help="Of intervals and of what is drawn.")] = 0,
    device: Device = "auto",
    precision: Precision = "fp32",
    json: Json = None,
) -> int:
    """Measure models on data sets: every figure with its interval, several models with paired tests.

    OUT gets a record of each model and data set, and results.parquet with all figures. Data sets that are not there are
    named with the way to get them; the suite `embedded`, which is taken where none is named, comes with
    pip install 'sightword[embedded]'. The task `layers` looks into the blocks of the text tower: where a denial is
    known, and where the losses of negation pull; on scenes, or on a table that `sightword data negate` wrote.

    On several GPUs or machines: torchrun --nproc_per_node 4 -m sightword evaluate … with the same arguments.

    Example: sightword evaluate runs/quickstart/model --suite embedded
    """
    from sightword.cli.output import console, counting_progress, evaluation_table, is_first_rank, write_json
    from sightword.evaluation.compare import compare_all, tabulate
    from sightword.evaluation.comparison import in_words
    from sightword.evaluation.page import check_packages
    from sightword.evaluation.records import Results
    from sightword.evaluation.results_report import write_results_report
    from sightword.evaluation.runner import kept

    if report is not None:
        check_packages()  # before hours of work, not after them
    results = Results(out)
    if compare:
        if models:
            raise RequestError("--compare shows what is in --out: name no models, or leave it out")
        found = kept(results)
    else:
        if not models:
            raise RequestError("no model: name a checkpoint folder or a repository of the Hub")
        from sightword.model import evaluate as measure

        tasks = [*(task or ()), *(probe or ())]
        with counting_progress("evaluating") as progress:
            found = measure(models, suite or (), data, out, tasks, seed, device, precision, progress, prompts)
    if not is_first_rank():
        return 0
    comparisons = compare_all(found.records, seed)
    write_json(json, found.to_json() | {"comparisons": [one.to_json() for one in comparisons]})
    if report is not None:
        write_results_report(report, found.records, comparisons, found.missing, found.remarks)
    made = tabulate(found.records)
    console.print(evaluation_table(made), markup=False)
    if any(line.engineered for line in made.lines):
        console.print("* prompts that people wrote who knew the task", markup=False)
    for one in comparisons:
        console.print(f"\n{in_words(one)}", soft_wrap=True, markup=False)
    for missing in found.missing:
        console.print(f"\nnot measured: {missing}", soft_wrap=True, markup=False)
    for remark in found.remarks:
        console.print(f"\n{remark}", soft_wrap=True, markup=False)
    if report is not None:
        console.print(f"\nreport: {report}", soft_wrap=True, markup=False)
    return 0
