"""load(compile=True): the same vectors, from batches of any size, with nothing compiled on the way."""

import copy

import numpy as np
import pytest
import torch

from sightword.checkpoints.contract import Contract
from sightword.data.tokenizer import Tokenizer
from sightword.embedding.embedder import Embedder
from sightword.towers.dual import DualEncoder
from tests.towers.test_compiled import Counting


def test_compiled_pictures_have_the_same_vectors(encoder: DualEncoder, contract: Contract, tokenizer: Tokenizer):
    plain = Embedder(copy.deepcopy(encoder), contract, tokenizer, device="cpu")
    count = Counting()
    torch._dynamo.reset()
    with torch.compiler.set_stance(force_backend=count):
        embedder = Embedder(copy.deepcopy(encoder), contract, tokenizer, device="cpu", compile=True)
    compiled = count.compiled
    assert compiled
    size = contract.image.size
    for pictures in (16, 32, 37, 5, 2, 1):
        pixels = np.random.default_rng(pictures).integers(0, 256, (pictures, size, size, 3), dtype=np.uint8)
        count.ran = 0
        assert embedder.embed_pixels(pixels) == pytest.approx(plain.embed_pixels(pixels), abs=1e-5)
        assert bool(count.ran) == (pictures > 1)  # one by itself runs as written
    assert count.compiled == compiled
    assert embedder.embed_texts(["a cat", "a dog"]) == pytest.approx(plain.embed_texts(["a cat", "a dog"]), abs=1e-6)
    assert embedder.fingerprint == plain.fingerprint
