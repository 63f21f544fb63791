"""A checkpoint to start from that reads longer texts: more of its position table, or this stretched; tokenizer and
contract with it."""

from __future__ import annotations

from torch import nn

from sightword.data.tokenizer import Tokenizer
from sightword.errors import RequestError
from sightword.towers.backbone import TextEncoder
from sightword.towers.positions import stretch
from sightword.towers.text import TextTransformer
from sightword.training.model_recipe import StretchRecipe
from sightword.training.start import Start

_RATIO = 4  # Long-CLIP's


def stretched(start: Start, asked: StretchRecipe) -> Start:
    """The same start with a longer context; its model is changed in place. The first positions of CLIP's table are
    fixed, the others spread. An encoder whose table goes on (BERT's 512) reads more of what it has, and all of that
    learns as before. Raises RequestError for a text tower with neither."""
    tower = start.model.text
    before, keep = start.contract.text.context, asked.keep
    context = asked.context or keep + (asked.ratio or _RATIO) * (before - keep)
    try:
        if isinstance(tower, TextEncoder):
            _read_more(tower, before, context)
        elif isinstance(tower, TextTransformer) and tower.trims and tower.class_token is None:
            tower.positions = nn.Parameter(stretch(tower.positions.detach(), keep, context))
            tower.context = context
            tower.keep_positions(keep)
        else:
            raise ValueError(
                "is for text towers like CLIP's, causal and pooled at the end of a text, and for encoders like BERT; "
                f"this one is {_kind(tower)}"
            )
    except ValueError as failure:
        raise RequestError(f"{start.name}: model.stretch: {failure}") from None
    text = start.contract.architecture.text.model_copy(update={"context": context})
    architecture = start.contract.architecture.model_copy(update={"text": text})
    start.model.config = architecture
    spec = start.contract.text.model_copy(update={"context": context})
    contract = start.contract.model_copy(update={"architecture": architecture, "text": spec})
    return start._replace(contract=contract, tokenizer=Tokenizer(start.tokenizer.engine, spec))


def _read_more(tower: TextEncoder, before: int, context: int) -> None:
    table = tower.backbone.embeddings
    there = table.positions.num_embeddings - table.offset
    if not before <= context <= there:
        raise ValueError(f"the encoder has {there} positions and reads {before}: {context} are not between the two")


def _kind(tower: nn.Module) -> str:
    if not isinstance(tower, TextTransformer):
        return "of another kind"
    pooled = {"class": "a class token", "last": "the last position"}.get(tower.pool, f"the {tower.pool} position")
    return f"{'causal' if tower.causal else 'not causal'} and pooled at {pooled}"
