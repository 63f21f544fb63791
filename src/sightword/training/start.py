"""The checkpoint that a run trains on from: read as `sightword.load` reads it, and named in what comes of it."""

from __future__ import annotations

from typing import Any, NamedTuple

from sightword.checkpoints.contract import Contract
from sightword.checkpoints.families import load_folder
from sightword.checkpoints.fingerprint import fingerprint
from sightword.checkpoints.hub import locate
from sightword.data.tokenizer import Tokenizer
from sightword.towers.dual import DualEncoder


class Start(NamedTuple):
    """fingerprint: of the weights and their use. name: as it was asked for."""

    model: DualEncoder
    contract: Contract
    tokenizer: Tokenizer
    name: str
    fingerprint: str

    def provenance(self) -> dict[str, Any]:
        """What a model made from this one says of it: name, fingerprint, where it was fetched, and its own start."""
        known = {key: value for key, value in self.contract.provenance.items() if key in ("source", "start")}
        return {"name": self.name, "fingerprint": self.fingerprint, **known}


def load_start(name: str) -> Start:
    """name: a folder, an archive, or a name of the Hub. Raises CheckpointError, and SightwordError where the network
    fails. The model is in evaluation mode, on the CPU."""
    model, contract, tokenizer = load_folder(*locate(name))
    return Start(model, contract, tokenizer, name, fingerprint(model, contract))
