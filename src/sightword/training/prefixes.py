"""Learned prefixes for a checkpoint to start from (prefix conditioning, arXiv 2206.01125): one token for captions and
one for names of classes, each in a row of the token table that no text can reach.

Deviation: the prefix is one of the tokens that a text may have, so that a text has room for one less, and no position
is added.
"""

from __future__ import annotations

import torch
from torch import nn

from sightword.errors import RequestError
from sightword.towers.text import TextTransformer
from sightword.training.start import Start


def prefixed(start: Start) -> Start:
    """The same start with two rows more, or as it is where it has them; its model is changed in place. Raises
    RequestError for a text tower of another kind than CLIP's."""
    if start.contract.text.prefixes:
        return start
    tower = start.model.text
    if not isinstance(tower, TextTransformer) or not tower.trims or tower.class_token is not None:
        raise RequestError(
            f"{start.name}: model.text.prefixes are for text towers like CLIP's, causal and pooled at the end of a "
            "text; this one is of another kind"
        )
    known = tower.tokens.weight.detach()
    try:
        tokenizer = start.tokenizer.with_prefixes(len(known))
    except RequestError as failure:
        raise RequestError(f"{start.name}: model.text.prefixes: {failure}") from None
    # As large as the tokens that the blocks are used to, and each its own from the beginning. (The start's row would be
    # a second start, which tells nothing apart.)
    rows = known.mean(dim=0) + known.std(dim=0) * torch.randn(2, known.shape[1])
    tower.tokens = nn.Embedding.from_pretrained(torch.cat([known, rows]), freeze=False)
    text = start.contract.architecture.text.model_copy(update={"vocabulary": len(known) + 2})
    architecture = start.contract.architecture.model_copy(update={"text": text})
    start.model.config = architecture
    contract = start.contract.model_copy(update={"architecture": architecture, "text": tokenizer.spec})
    return start._replace(contract=contract, tokenizer=tokenizer)
