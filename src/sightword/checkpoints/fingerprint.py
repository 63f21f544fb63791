"""A fingerprint of a model: equal for two that compute the same, whatever their files are called."""

from __future__ import annotations

import hashlib
import json

import torch

from sightword.checkpoints.contract import Contract
from sightword.towers.dual import DualEncoder


def fingerprint(model: DualEncoder, contract: Contract) -> str:
    """SHA-256 of all weights and of what the contract says about their use; licence and provenance do not count."""
    use = contract.model_dump(mode="json", exclude={"licence", "provenance"})
    digest = hashlib.sha256(json.dumps(use, sort_keys=True).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        # NumPy knows no bfloat16: the bytes alone.
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return f"sha256:{digest.hexdigest()}"
