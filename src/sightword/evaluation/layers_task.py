"""What the task `layers` leaves of a model and captions with their denials, by block of the text tower: accuracies of
probes, how far a caption is from its denial, and how strongly the losses of negation pull."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sightword.data.denials import Denials
from sightword.data.readers import Data
from sightword.evaluation.bootstrap import bootstrap
from sightword.evaluation.classification import Outcome
from sightword.evaluation.gradients import BATCH, gradient_norms
from sightword.evaluation.kinds import Work
from sightword.evaluation.layer_names import DISTANCE, GRADIENT, LOSSES, TWINS, block_name
from sightword.evaluation.layers import (
    STRENGTHS,
    Question,
    States,
    asked_of,
    distances,
    probe,
    states,
    text_tower,
)
from sightword.evaluation.rows import Row
from sightword.evaluation.spec import Spec
from sightword.evaluation.weighted import Mean


def layers_settings(spec: Spec, root: str | Path | None, data: Data, seed: int) -> dict[str, Any]:
    return {"metrics": ["top1"], "strengths": [*STRENGTHS], "batch": BATCH, "seed": seed}


def layers(work: Work) -> Outcome:
    """Rows by level (`split`): `tokens` is the floor, the text without the order of its words; then `block 0` and on.
    `top1` of each question, `distance` and `log_gradient`."""
    data, seed = work.data, work.settings["seed"]
    assert isinstance(data, Denials)
    embedder, _ = text_tower(work.embedder)
    asked = asked_of(data, seed)
    remarks: list[str] = []
    if not all(one.present for one in data.denials):
        remarks.append("the table does not say what is denied: probes are held out by picture alone")
    rows: list[Row] = []
    by_level = states(embedder, asked.texts)
    for level, state_NW in by_level.items():
        for what, questions in asked.questions.items():
            row = _probed(data, level, what, state_NW, questions, seed)
            rows += [row] if row else []
        values = distances(state_NW, asked.twins)
        estimate = bootstrap(Mean(values, top=2.0), [*map(str, asked.twin_pictures.tolist())], seed)
        rows.append(
            Row(
                data.name, level, TWINS, DISTANCE, estimate.value, estimate.low, estimate.high, len(values), 1,
                "cluster bootstrap",
            )
        )  # fmt: skip
    for what in asked.questions:
        if not any(row.prompt == what for row in rows):
            remarks.append(f"too few captions for the question `{what}`: it is left out")
    norms, batch = gradient_norms(embedder, data, work.vectors, seed)
    for loss, of_loss in zip(LOSSES, norms, strict=True):
        rows += [
            Row(
                data.name, block_name(number), loss, GRADIENT, float(of_block.mean()), float(of_block.min()),
                float(of_block.max()), batch * len(of_block), 1, "the least and the most of the batches",
            )
            for number, of_block in enumerate(of_loss)
        ]  # fmt: skip
    details = {"levels": [*by_level], "batches": norms.shape[-1], "batch": batch, "remarks": remarks}
    return Outcome(tuple(rows), {"layers": details})


def _probed(
    data: Denials, level: str, what: str, state_NW: States, questions: Sequence[Question], seed: int
) -> Row | None:
    found = probe(state_NW, questions)
    if found is None:
        return None
    tried, right = found
    pictures = [str(questions[place].picture) for place in tried.tolist()]
    estimate = bootstrap(Mean(right), pictures, seed)
    return Row(
        data.name, level, what, "top1", estimate.value, estimate.low, estimate.high, len(tried), 2,
        "cluster bootstrap",
    )  # fmt: skip
