"""The from-scratch recipe against open_clip's towers and loss: same data, order, augmentation, tokens and minutes.

    make peers
    .venv/bin/python benchmarks/scratch_vs_open_clip.py [--seed 0] [--minutes 12] [--out runs/versus]

Both sides run at the same time, each in a process of its own with one thread for its model, so that whatever else the
machine does falls on both. Each side first times its own step, then takes as many steps as fit into the minutes; the
schedule ends with them. Ours is `sightword train` on the recipe. The peer is the same architecture built by open_clip
3.3.0 (its ModifiedResNet, its text Transformer, its initialisation), trained on the batches of the same loader with
open_clip's ClipLoss, texts padded to the full context as its tokenizer does, AdamW with decay on matrices, the same
schedule, average of weights and bf16 autocast. Both are judged by the same code.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from peers import import_open_clip
from torch import Tensor, nn

from sightword.checkpoints.native import load_checkpoint
from sightword.data.loader import Loader
from sightword.data.pairs import Batch, Tokens
from sightword.embedding.embedder import Embedder, Vectors
from sightword.evaluation.emoji import evaluate_emoji
from sightword.evaluation.experiment import run_training
from sightword.training.build import Built, build
from sightword.training.data import TrainingData, read_data
from sightword.training.optimizer import Average, learning_rate, set_learning_rate
from sightword.training.precision import in_bf16
from sightword.training.recipe import Recipe, read_recipe
from sightword.training.step import Stepper

SIDES = ("ours", "open_clip")
# What open_clip trains with too, and a reading thread for each side.
ALIKE = ("training.optimizer=adamw", "training.lr=1e-3", "data.workers=1")


class Peer(nn.Module):
    """open_clip's model with the face of ours."""

    def __init__(self, recipe: Recipe, vocabulary: int, end_id: int) -> None:
        super().__init__()
        image, text = recipe.model.image, recipe.model.text
        # open_clip pools at the largest id, and our tokenizer gives the end of text the largest.
        assert end_id == vocabulary - 1
        self.clip = import_open_clip().CLIP(
            embed_dim=recipe.model.embed_dim,
            vision_cfg={"image_size": image.image_size, "layers": list(image.blocks), "width": image.width},
            text_cfg={
                "context_length": text.context,
                "vocab_size": vocabulary,
                "width": text.width,
                "heads": text.heads,
                "layers": text.layers,
            },
            quick_gelu=True,
        )
        self.context = text.context

    def pad(self, tokens: Tokens) -> Tensor:
        return F.pad(tokens.ids, (0, self.context - tokens.ids.shape[1]))

    def encode_image(self, images: Tensor) -> Tensor:
        return self.clip.encode_image(images, normalize=True).float()

    def encode_text(self, tokens: Tokens) -> Tensor:
        # Padding with the end id, as the batch comes, would be found by argmax only at its first place: that is right.
        return self.clip.encode_text(self.pad(tokens), normalize=True).float()

    @property
    def scale(self) -> Tensor:
        return self.clip.logit_scale.exp()


class PeerEmbedder(Embedder):
    """Embeds with the peer: pictures by the same code as ours, texts padded."""

    def __init__(self, peer: Peer, built: Built) -> None:
        self.peer, self.device, self.decode = peer.eval(), torch.device("cpu"), "exact"
        self.contract, self.tokenizer = built.contract, built.tokenizer

    @property
    def scale(self) -> float:
        return float(self.peer.scale.detach())

    @property
    def bias(self) -> None:
        return None

    @property
    def fingerprint(self) -> str:
        return f"peer {time.time_ns()}"  # new every time: no head that was kept on disk is this one's

    @torch.inference_mode()
    def embed_tokens(self, ids: NDArray[np.int64], lengths: NDArray[np.int64], batch_size: int) -> Vectors:
        pieces = torch.from_numpy(ids).split(batch_size), torch.from_numpy(lengths).split(batch_size)
        return np.concatenate([self.peer.encode_text(Tokens(*piece)).numpy() for piece in zip(*pieces, strict=True)])

    def _encode(self, images_B3HW: Tensor) -> Vectors:
        return self.peer.encode_image(self.contract.image.normalise(images_B3HW)).numpy()


Side = tuple[nn.Module, Callable[[Batch, float], object]]


def loader_of(recipe: Recipe, data: TrainingData, built: Built) -> Loader:
    return Loader(
        source=data.train,
        tokenizer=built.tokenizer,
        spec=built.contract.image,
        augment=recipe.augment,
        batch_size=recipe.training.batch_size,
        seed=recipe.seed,
        templates=recipe.data.templates,
        first=recipe.data.first_text,
        workers=1,
    )


def our_side(recipe: Recipe, built: Built) -> Side:
    built.model.image.to(memory_format=torch.channels_last)
    stepper = Stepper(built.model, built.contract, recipe, torch.device("cpu"))
    stepper.begin()
    average = Average(built.model, recipe.training.ema)

    def step(batch: Batch, rate: float) -> None:
        stepper.gradients(batch, rate)
        stepper.update(rate)
        average.update(built.model)

    return built.model, step


def their_side(recipe: Recipe, built: Built) -> tuple[Peer, Callable[[Batch, float], object], Average]:
    training = recipe.training
    torch.manual_seed(recipe.seed)
    loss_of = import_open_clip().ClipLoss()
    peer = Peer(recipe, built.tokenizer.vocabulary, built.tokenizer.spec.end_id).train()
    peer.clip.visual.to(memory_format=torch.channels_last)
    decaying = [p for p in peer.parameters() if p.ndim >= 2]
    others = [p for p in peer.parameters() if p.ndim < 2 and p is not peer.clip.logit_scale]
    groups = [
        {"params": decaying, "rate": 1.0, "weight_decay": training.decay},
        {"params": others, "rate": 1.0, "weight_decay": 0.0},
        {"params": [peer.clip.logit_scale], "rate": training.scale_lr, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=training.lr, betas=training.betas, eps=training.eps)
    average = Average(peer, training.ema)

    half = in_bf16(training.precision, torch.device("cpu"))

    def step(batch: Batch, rate: float) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            image = peer.encode_image(built.contract.image.normalise(batch.images))
            text = peer.encode_text(batch.tokens)
        loss = loss_of(image, text, peer.scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(peer.parameters(), training.clip)
        set_learning_rate(optimizer, rate)
        optimizer.step()
        with torch.no_grad():
            peer.clip.logit_scale.clamp_(0, math.log(100))
        average.update(peer)

    return peer, step, average


def steps_in(minutes: float, loader: Loader, step: Callable[[Batch, float], object]) -> int:
    """How many steps fit, by the time of 40 after 5 to warm up."""
    batches = loader.batches()
    for _ in range(5):
        step(next(batches), 0.0)
    begun = time.perf_counter()
    for _ in range(40):
        step(next(batches), 0.0)
    seconds = (time.perf_counter() - begun) / 40
    batches.close()
    return int(60 * minutes / seconds)


def run_side(side: str, recipe: Recipe, minutes: float, out: Path) -> None:
    data = read_data(recipe.data)
    assert data.benchmark is not None
    texts = sorted({t.replace("{}", x) for p in data.train.pairs for x in p.texts for t in recipe.data.templates})
    loader = loader_of(recipe, data, built := build(recipe, texts))
    if side == "ours":
        steps = steps_in(minutes, loader, our_side(recipe, built)[1])
        changed = recipe.training.model_copy(update={"steps": steps, "every": steps})
        result = run_training(recipe.model_copy(update={"training": changed}), out / "ours").result
        took, embedder = result.minutes, Embedder(*load_checkpoint(result.model))
    else:
        steps = steps_in(minutes, loader, their_side(recipe, built)[1])
        peer, step, average = their_side(recipe, built)
        schedule = recipe.training.model_copy(update={"steps": steps})
        batches = loader.batches()
        begun = time.perf_counter()
        for number in range(steps):
            step(next(batches), learning_rate(schedule, number))
        took = (time.perf_counter() - begun) / 60
        batches.close()
        peer.load_state_dict(peer.state_dict() | average.state)
        embedder = PeerEmbedder(peer, built)
    templates = {"plain": recipe.evaluation.plain, "ensemble": recipe.evaluation.ensemble}
    rows = evaluate_emoji(embedder, data.benchmark, templates, data.train.pairs).rows
    values = {"steps": steps, "minutes": took, "seed": recipe.seed, "results": [row.to_json() for row in rows]}
    (out / f"{side}.json").write_text(json.dumps(values, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/scratch.toml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--out", type=Path, default=Path("runs/versus"))
    parser.add_argument("--side", choices=SIDES, help="run this side alone")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.side:
        torch.set_num_threads(1)
        recipe = read_recipe(arguments.recipe, [f"seed={arguments.seed}", *ALIKE])
        run_side(arguments.side, recipe, arguments.minutes, arguments.out)
        return
    command = [sys.executable, __file__, *sys.argv[1:]]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen([*command, "--side", side], env=environment) for side in SIDES]
    codes = [process.wait() for process in running]
    if any(codes):
        sys.exit("a side failed")
    for side in SIDES:
        values = json.loads((arguments.out / f"{side}.json").read_text())
        print(f"{side}: {values['steps']} steps in {values['minutes']:.2f} minutes, seed {values['seed']}")
        for row in values["results"]:
            interval = f"({100 * row['low']:.1f}-{100 * row['high']:.1f})"
            print(f"  {row['test']:15} {row['prompt']:9} {row['metric']:5} {100 * row['value']:5.1f} {interval}")


if __name__ == "__main__":
    main()
