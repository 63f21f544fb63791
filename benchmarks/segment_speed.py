"""A 512 x 512 picture and 150 labels with a ViT-B/16: time and memory, against transformers' CLIPSeg.

    make peers
    .venv/bin/python benchmarks/segment_speed.py [--rounds 3] [--labels 150] [--prompts 2] [--threads 2] [--json FILE]

Random weights of the full size. Ours, in fp32 and in bf16: from the picture to the mask, the head of the labels made
before; with windows on the picture at its own size (`short` = its side), and as `segment` does it by itself. CLIPSeg
(`CLIPSegForImageSegmentation` with its default configuration and patches of 16, as all released checkpoints have them)
gets the picture at its own size too, and ready vectors of the labels in place of their texts, then the best of the
labels is taken at every pixel:

- as documented: the picture once for each prompt. It is run with --prompts of them, and its time is scaled up to all
  labels, which is linear in the prompts since each is a row of its own in the batch. Its memory is that of --prompts.
- shared: what nobody documents and one may write by hand: the image tower once, the decoder for all labels, 10 at a
  time.

Each side is a process of its own, so that its peak memory is its own, and sides take turns, so that whatever else the
machine does falls on all of them. The first round warms up and is not counted; ratios are made within a round. The
time of the processors (that of all threads together) stands beside that of the clock: on a loaded machine it is the
one to read.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

os.environ["SIGHTWORD_CACHE"] = ""

import numpy as np

SIZE, TOGETHER = 512, 10
Run = Callable[[], Any]


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


def ours(labels: int, precision: Any, short: int | None) -> Run:
    import torch

    from sightword.checkpoints.contract import Contract
    from sightword.data.images import ImageSpec
    from sightword.data.tokenizer import train_tokenizer
    from sightword.model import Model
    from sightword.towers.dual import DualEncoder
    from sightword.towers.presets import preset

    tokenizer = train_tokenizer([f"label {number}" for number in range(labels)], vocabulary=400, context=16)
    architecture = preset("ViT-B/16")
    text = architecture.text.model_copy(update={"vocabulary": tokenizer.vocabulary, "context": 16})
    architecture = architecture.model_copy(update={"text": text})
    contract = Contract(architecture=architecture, image=ImageSpec(size=224), text=tokenizer.spec)
    torch.manual_seed(0)
    model = Model(DualEncoder(architecture), contract, tokenizer, device="cpu", precision=precision)
    segmenter = model.segmenter([f"label {number}" for number in range(labels)], short=short)
    pixels = picture()
    return lambda: segmenter.predict(pixels).mask


def clipseg(prompts: int, shared: bool) -> Run:
    from peers import declare_operators

    declare_operators()
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    torch.manual_seed(0)
    model = CLIPSegForImageSegmentation(CLIPSegConfig(vision_config={"patch_size": 16})).eval()
    vectors = torch.randn(prompts, model.config.projection_dim)
    pixels = torch.from_numpy(picture()).permute(2, 0, 1)[None].float() / 127.5 - 1

    @torch.inference_mode()
    def documented() -> Any:
        repeated = pixels.expand(prompts, -1, -1, -1)
        return model(pixel_values=repeated, conditional_embeddings=vectors).logits.reshape(-1, SIZE, SIZE).argmax(0)

    @torch.inference_mode()
    def by_hand() -> Any:
        seen = model.clip.get_image_features(pixels, interpolate_pos_encoding=True, output_hidden_states=True)
        kept = [seen.hidden_states[layer + 1] for layer in model.extract_layers]
        logits = [
            model.decoder([one.expand(len(some), -1, -1) for one in kept], some).logits.reshape(-1, SIZE, SIZE)
            for some in vectors.split(TOGETHER)
        ]
        return torch.cat(logits).argmax(0)

    return by_hand if shared else documented


def sides(labels: int, prompts: int) -> dict[str, tuple[Callable[[], Run], float]]:
    """Each with what makes it, and what its time is multiplied by."""
    made: dict[str, tuple[Callable[[], Run], float]] = {}
    for precision in ("fp32", "bf16"):
        made[f"sightword, {precision}"] = (partial(ours, labels, precision, SIZE), 1.0)
    for precision in ("fp32", "bf16"):
        made[f"sightword, {precision}, its own scale"] = (partial(ours, labels, precision, None), 1.0)
    made["CLIPSeg as documented"] = (partial(clipseg, prompts, False), labels / prompts)
    made["CLIPSeg, shared"] = (partial(clipseg, labels, True), 1.0)
    return made


def peak() -> float:
    """Of this process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(make: Callable[[], Run], threads: int, pipe: Connection) -> None:
    import torch

    torch.set_num_threads(threads)
    run = make()
    before = peak()
    while pipe.recv():
        begun, busy = time.perf_counter(), time.process_time()
        found = run()
        seconds, cpu = time.perf_counter() - begun, time.process_time() - busy
        assert tuple(found.shape) == (SIZE, SIZE)
        pipe.send((seconds, cpu, before, peak()))


def measure(labels: int, prompts: int, rounds: int, threads: int) -> dict[str, dict[str, Any]]:
    context = multiprocessing.get_context("spawn")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    pipes, factors, processes = {}, {}, []
    for name, (make, factors[name]) in sides(labels, prompts).items():
        pipes[name], other = context.Pipe()
        processes.append(context.Process(target=work, args=(make, threads, other), daemon=True))
        processes[-1].start()
        other.close()
    found: dict[str, dict[str, Any]] = {name: {"seconds": [], "cpu_seconds": []} for name in pipes}
    for turn in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            seconds, cpu, found[name]["loaded_mib"], found[name]["peak_mib"] = pipe.recv()
            if turn:
                found[name]["seconds"].append(seconds * factors[name])
                found[name]["cpu_seconds"].append(cpu * factors[name])
            print(
                f"round {turn}: {name}: {seconds:.2f} s, {cpu:.2f} s of the processors, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return found


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--labels", type=int, default=150)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(asked.labels, asked.prompts, asked.rounds, asked.threads)
    import torch
    import transformers

    machine = f"{platform.machine()}, {os.cpu_count()} cores, {asked.threads} threads, load {load:.1f} at the start"
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"\n{machine}, {versions}; {asked.labels} labels, {SIZE} x {SIZE}, {asked.rounds} rounds")
    for name, one in found.items():
        print(
            f"{name:36} {spread(one['seconds'])} s; of the processors {spread(one['cpu_seconds'])} s; "
            f"peak {one['peak_mib']:.0f} MiB, {one['loaded_mib']:.0f} before the first picture"
        )
    for peer in (name for name in found if name.startswith("CLIPSeg")):
        for name in (name for name in found if name.startswith("sightword")):
            clock, cpu = (
                spread([theirs / own for theirs, own in zip(found[peer][what], found[name][what], strict=True)])
                for what in ("seconds", "cpu_seconds")
            )
            print(f"{peer} / {name}: {clock}; of the processors {cpu}")
    if asked.json:
        asked.json.write_text(json.dumps({"machine": machine, "versions": versions, "sides": found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
