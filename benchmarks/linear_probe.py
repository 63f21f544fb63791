"""The linear probe against scikit-learn's LogisticRegression and CLIP_benchmark's linear probe, on the same features.

    pip install scikit-learn && pip install --no-deps clip-benchmark==1.6.2
    python benchmarks/linear_probe.py [--samples 20000] [--dim 512] [--classes 100] [--every 1] [--rounds 3]
        [--sides path cold warm search clip] [--json FILE]

The features are unit vectors around a common direction, with variances that fall as a power law, in classes that
overlap: the best strength reaches about 60 % on held-out ones, and lies inside of the sweep. All sides get float32.

Sweep: the paper's 97 strengths, each fitted. `path`: ours, all of them at the default tol=1e-5. `cold`: scikit-learn's
lbfgs with max_iter=1000 and its own tol=1e-4, each from nothing. `warm`: the same, each from the one before
(warm_start), from strong to weak. Only every so many strengths are given to scikit-learn with `--every`; its time is
then multiplied. Objectives are computed in float64 for all; accuracies are of validation data.

Search: `search` is ours with the paper's search, and `clip` is CLIP_benchmark's own: its functions train and find_peak
(AdamW, 10 epochs, batch 64, lr 0.1: its command line's defaults) over its weight decays, on a CPU, in the order of its
evaluate. Both then fit training and validation data together and are tested once. `--fits 1` measures one of its 20
fits, without its search, and multiplies the time: its accuracy is then that of a weight decay of 0. `cpu` is the CPU
time; on a machine that others load, compare that, with OMP_NUM_THREADS=1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import sklearn
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from sightword.labels import LinearProbe
from sightword.labels.probe import SWEEP

Split = tuple[NDArray[np.float32], NDArray[np.int64]]


def features(samples: int, dim: int, classes: int, seed: int = 0) -> tuple[Split, Split, Split]:
    """Training, validation and test data; the last two a quarter of the first."""
    rng = np.random.default_rng(seed)
    held, deviations = samples // 4, np.arange(1, dim + 1) ** -0.5
    means = rng.normal(size=(classes, dim)) * deviations
    y = rng.integers(0, classes, samples + 2 * held)
    x = 0.15 * means[y] + rng.normal(size=(len(y), dim)) * deviations
    x = 0.8 * x @ np.linalg.qr(rng.normal(size=(dim, dim))).Q.T / np.linalg.norm(means, axis=1).mean()
    common = rng.normal(size=dim)
    x += common / np.linalg.norm(common)
    x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
    cuts = [samples, samples + held]
    one, two, three = zip(np.split(x, cuts), np.split(y, cuts), strict=True)
    return one, two, three


def objective(data: Split, coef: NDArray[Any], intercept: NDArray[Any], strength: float) -> float:
    """In float64."""
    x, y = data
    z = x.astype(np.float64) @ coef.T.astype(np.float64) + intercept
    z -= z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]
    return float(losses.sum() + strength / 2 * np.square(coef, dtype=np.float64).sum())


def ours_path(train: Split, val: Split) -> dict[str, Any]:
    probe = LinearProbe(SWEEP, refit=False)
    began = time.perf_counter()
    probe.fit(*train, *val)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "objective": {place: point.objective for place, point in enumerate(probe.path_)},
        "accuracy": {place: point.score for place, point in enumerate(probe.path_)},
        "iterations": sum(point.iterations for point in probe.path_),
        "not_converged": sum(not point.converged for point in probe.path_),
        "largest_gap": max(point.gap for point in probe.path_),
    }


def theirs_path(train: Split, val: Split, every: int, warm: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"objective": {}, "accuracy": {}, "iterations": 0, "not_converged": 0}
    model, seconds, count = LogisticRegression(max_iter=1000, warm_start=warm), 0.0, 0
    for place, strength in enumerate(SWEEP):
        if place % every:
            continue
        model.set_params(C=1 / strength)
        began = time.perf_counter()
        model.fit(*train)
        accuracy = model.score(*val)
        seconds, count = seconds + time.perf_counter() - began, count + 1
        found["objective"][place] = objective(train, model.coef_, model.intercept_, strength)
        found["accuracy"][place] = accuracy
        found["iterations"] += int(model.n_iter_[0])
        found["not_converged"] += int(model.n_iter_[0] >= 1000)
    return {"seconds": seconds * len(SWEEP) / count, **found}


def ours_search(train: Split, val: Split, test: Split) -> dict[str, Any]:
    probe = LinearProbe()
    began, cpu = time.perf_counter(), time.process_time()
    probe.fit(*train, *val)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    fits, right = len(probe.path_) + 1, probe.score(*test)
    return {"seconds": seconds, "cpu": cpu, "test": right, "strength": probe.strength_, "fits": fits}


def clip_benchmark(train: Split, val: Split, test: Split, fits: int | None) -> dict[str, Any]:
    from clip_benchmark.metrics import linear_probe as theirs
    from torch.utils.data import DataLoader

    def loader(*splits: Split) -> DataLoader[Any]:
        x, y = (np.concatenate(parts) for parts in zip(*splits, strict=True))
        return DataLoader(theirs.FeatureDataset(torch.from_numpy(x), torch.from_numpy(y)), batch_size=64, shuffle=True)

    shape = train[0].shape[1], int(train[1].max()) + 1
    rest = {"lr": 0.1, "epochs": 10, "amp": False, "device": "cpu", "seed": 0}
    decays = np.logspace(-6, 2, num=97).tolist()
    # It is written for a GPU: without these it would stop at the first `.cuda()`.
    here = [mock.patch.object(kind, "cuda", lambda self, *_, **__: self) for kind in (torch.nn.Module, torch.Tensor)]
    # Its own counts with `float` of an array of one number, which numpy 2.4 refuses.
    share = lambda logits, y, topk: [float((logits.argmax(dim=1) == y).double().mean())]  # noqa: E731
    top1 = mock.patch.object(theirs, "accuracy", share)
    with here[0], here[1], top1, contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        began, cpu = time.perf_counter(), time.process_time()
        best, done = 0, 0
        if fits is None:
            asked = [index for index in range(97) if index % 16 == 0]
            span = 16
            while span:
                best = theirs.find_peak(decays, asked, loader(train), loader(val), *shape, verbose=False, **rest)
                done += len(asked)
                span //= 2
                asked = [max(best - span, 0), best, min(best + span, 96)]
        model = theirs.train(loader(train, val), *shape, weight_decay=0.0 if fits else decays[best], **rest)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        logits, truth = theirs.infer(model, loader(test), False, "cpu")
    accuracy = float((logits.argmax(dim=1) == truth).double().mean())
    # 7, then four times 3, then the last one, which has a quarter more samples.
    scale = 1.0 if fits is None else (19 * len(train[0]) / (len(train[0]) + len(val[0])) + 1)
    return {
        "seconds": seconds * scale,
        "cpu": cpu * scale,
        "test": accuracy,
        "fits": done + 1,
        "measured_seconds": seconds,
    }


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    places = theirs["objective"]
    above = {place: ours["objective"][place] / theirs["objective"][place] - 1 for place in places}
    points = {place: 100 * (ours["accuracy"][place] - theirs["accuracy"][place]) for place in places}
    best = 100 * (max(ours["accuracy"][place] for place in places) - max(theirs["accuracy"].values()))
    return {
        "speed": theirs["seconds"] / ours["seconds"],
        "objective_above_theirs_at_most": max(above.values()),
        "objective_below_theirs_at_most": -min(above.values()),
        "points_worse_at_most": -min(points.values()),
        "points_better_at_most": max(points.values()),
        "points_of_the_best_strength": best,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("samples", 20000), ("dim", 512), ("classes", 100), ("every", 1), ("rounds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--fits", type=int)
    parser.add_argument("--sides", nargs="+", default=["path", "cold", "warm", "search", "clip"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.simplefilter("ignore", category=sklearn.exceptions.ConvergenceWarning)

    train, val, test = features(args.samples, args.dim, args.classes)
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "path": lambda: ours_path(train, val),
        "cold": lambda: theirs_path(train, val, args.every, warm=False),
        "warm": lambda: theirs_path(train, val, args.every, warm=True),
        "search": lambda: ours_search(train, val, test),
        "clip": lambda: clip_benchmark(train, val, test, args.fits),
    }
    print(
        f"{args.samples} x {args.dim}, {args.classes} classes; torch {torch.__version__}, numpy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}; {torch.get_num_threads()} threads of torch, {os.cpu_count()} cores"
    )
    LinearProbe(1.0).fit(train[0][:2000], train[1][:2000])  # warm-up
    rounds: list[dict[str, Any]] = []
    for number in range(args.rounds):
        done: dict[str, Any] = {}
        for side in args.sides:
            done[side] = sides[side]()
            shown = {key: value for key, value in done[side].items() if not isinstance(value, dict)}
            print(f"round {number} {side:7}", shown, flush=True)
        done["ratios"] = {side: compare(done["path"], done[side]) for side in ("cold", "warm") if side in done}
        if {"search", "clip"} <= done.keys():
            speed, by_cpu = (done["clip"][clock] / done["search"][clock] for clock in ("seconds", "cpu"))
            points = 100 * (done["search"]["test"] - done["clip"]["test"])
            done["ratios"]["clip"] = {"speed": speed, "by_cpu": by_cpu, "points_better": points}
        print(f"round {number} ratios ", json.dumps(done["ratios"]), flush=True)
        rounds.append(done)
    for side in rounds[0]["ratios"]:
        speeds = [one["ratios"][side]["speed"] for one in rounds]
        print(f"{side}: {statistics.median(speeds):.1f} times faster ({min(speeds):.1f} … {max(speeds):.1f})")
    if args.json:
        args.json.write_text(json.dumps(rounds, indent=2))


if __name__ == "__main__":
    main()
