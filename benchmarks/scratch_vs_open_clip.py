"""The from-scratch recipe against open_clip's towers and loss: same data, order, augmentation, tokens and minutes.

    make peers
    .venv/bin/python benchmarks/scratch_vs_open_clip.py [--seed 0] [--steps 2400] [--out runs/versus]

Ours runs first, with its recipe. The peer is the same architecture built by open_clip 3.3.0 (its ModifiedResNet, its
text Transformer, its initialisation), trained on the very batches of the same loader with open_clip's ClipLoss, texts
padded to the full context as its tokenizer does, AdamW with decay on matrices, the same schedule, average of weights
and bf16 autocast. It gets as many steps as fit into the minutes that ours took (its step is timed first), and its
cosine ends with them. Both are judged by the same code.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from peers import import_open_clip
from torch import Tensor, nn

from sightword.checkpoints.native import load_checkpoint
from sightword.data.loader import Loader
from sightword.data.pairs import Batch, Tokens
from sightword.embedding.embedder import Embedder
from sightword.evaluation.emoji import evaluate_emoji
from sightword.evaluation.experiment import run_training
from sightword.evaluation.rows import Row
from sightword.training.data import TrainingData
from sightword.training.optimizer import Average, learning_rate
from sightword.training.recipe import Recipe, read_recipe


class Peer(nn.Module):
    """open_clip's model with the face that the Embedder expects."""

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


def train_peer(recipe: Recipe, data: TrainingData, ours: Embedder, minutes: float) -> tuple[Peer, int]:
    torch.manual_seed(recipe.seed)
    training = recipe.training
    loss_of = import_open_clip().ClipLoss()

    def fresh() -> tuple[Peer, torch.optim.Optimizer, Average]:
        peer = Peer(recipe, ours.tokenizer.vocabulary, ours.tokenizer.spec.end_id)
        peer.clip.visual.to(memory_format=torch.channels_last)
        decaying = [p for p in peer.parameters() if p.ndim >= 2]
        others = [p for p in peer.parameters() if p.ndim < 2 and p is not peer.clip.logit_scale]
        groups = [
            {"params": decaying, "rate": 1.0, "weight_decay": training.decay},
            {"params": others, "rate": 1.0, "weight_decay": 0.0},
            {"params": [peer.clip.logit_scale], "rate": training.scale_lr, "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=training.lr, betas=training.betas, eps=training.eps)
        return peer.train(), optimizer, Average(peer, training.ema)

    def step(peer: Peer, optimizer: torch.optim.Optimizer, average: Average, batch: Batch, rate: float) -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=training.precision == "bf16"):
            image, text = peer.encode_image(ours.contract.image.normalise(batch.images)), peer.encode_text(batch.tokens)
        loss = loss_of(image, text, peer.scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(peer.parameters(), training.clip)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate"]
        optimizer.step()
        with torch.no_grad():
            peer.clip.logit_scale.clamp_(0, 4.6052)
        average.update(peer)

    loader = Loader(
        source=data.train, tokenizer=ours.tokenizer, spec=ours.contract.image, augment=recipe.augment,
        batch_size=training.batch_size, seed=recipe.seed, templates=recipe.data.templates,
        first=recipe.data.first_text, workers=recipe.data.workers,
    )  # fmt: skip
    batches = loader.batches()
    timed = fresh()
    for _ in range(5):
        step(*timed, next(batches), 0.0)
    begun = time.perf_counter()
    for _ in range(40):
        step(*timed, next(batches), 0.0)
    seconds = (time.perf_counter() - begun) / 40
    batches.close()
    steps = int(60 * minutes / seconds)
    schedule = training.model_copy(update={"steps": steps})
    peer, optimizer, average = fresh()
    batches = loader.batches()
    begun = time.perf_counter()
    for number in range(steps):
        step(peer, optimizer, average, next(batches), learning_rate(schedule, number))
        if (number + 1) % 100 == 0:
            print(
                f"open_clip: step {number + 1} of {steps}, {(time.perf_counter() - begun) / 60:.1f} minutes", flush=True
            )
    batches.close()
    peer.load_state_dict(peer.state_dict() | average.state)
    print(f"open_clip: {steps} steps in {(time.perf_counter() - begun) / 60:.2f} minutes")
    return peer, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=Path("recipes/scratch.toml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/versus"))
    arguments = parser.parse_args()
    changes = [f"seed={arguments.seed}", *([f"training.steps={arguments.steps}"] if arguments.steps else [])]
    recipe = read_recipe(arguments.recipe, changes)
    trained = run_training(recipe, arguments.out / f"ours-{arguments.seed}")
    ours = Embedder(*load_checkpoint(trained.result.model))
    assert trained.data.benchmark is not None
    print(f"ours: {trained.result.steps} steps in {trained.result.minutes:.2f} minutes", flush=True)
    peer, steps = train_peer(recipe, trained.data, ours, trained.result.minutes)
    theirs = Embedder(peer, ours.contract, ours.tokenizer)  # type: ignore[arg-type]
    templates = {"plain": recipe.evaluation.plain, "ensemble": recipe.evaluation.ensemble}
    rows: dict[str, list[Row]] = {}
    for name, embedder in (("ours", ours), ("open_clip", theirs)):
        rows[name] = list(evaluate_emoji(embedder, trained.data.benchmark, templates, trained.data.train.pairs).rows)
        for row in rows[name]:
            print(
                f"{name:10} {row.test:15} {row.prompt:9} {row.metric:5} "
                f"{100 * row.value:5.1f} ({100 * row.low:.1f}-{100 * row.high:.1f})"
            )
    result = {
        "minutes": trained.result.minutes,
        "steps": {"ours": trained.result.steps, "open_clip": steps},
        "seed": recipe.seed,
        "results": {name: [row.to_json() for row in found] for name, found in rows.items()},
    }
    (arguments.out / f"versus-{arguments.seed}.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
