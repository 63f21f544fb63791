"""Texts to ids, 1,000 names x 80 templates, against open_clip's SimpleTokenizer and transformers' CLIPTokenizer.

    make peers
    .venv/bin/python benchmarks/tokenizing.py [--repeats 5] [--names 1000] [--json FILE]

Names and templates are ImageNet's, as open_clip brings them, and so is the vocabulary; each side makes padded rows.
Ours and open_clip's, which both remember words, are timed twice: with nothing remembered, and again with what they have
learnt. So is what is worst for ours: texts of ten random words, of which none comes twice. Within a repeat all sides
take turns, and ratios are made within a repeat, to open_clip in the same state (transformers to open_clip's second).
The ids of ours must be open_clip's for every text, or nothing is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import string
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers import import_open_clip


def random_texts(count: int) -> list[str]:
    letters = random.Random(0)
    return [" ".join("".join(letters.choices(string.ascii_lowercase, k=7)) for _ in range(10)) for _ in range(count)]


def sides(folder: Path, texts: list[str]) -> dict[str, Callable[[], Any]]:
    """What each side runs; the result is a tensor of rows."""
    clip = import_open_clip()
    from transformers import CLIPTokenizer

    from sightword.checkpoints.tokens import make_tokenizer, read_tokenizer
    from sightword.checkpoints.vocabulary import split_as_openai

    simple = clip.tokenizer.SimpleTokenizer()
    vocabulary = {token.replace("start_of_text", "|startoftext|"): n for token, n in simple.encoder.items()}
    vocabulary = {token.replace("end_of_text", "|endoftext|"): n for token, n in vocabulary.items()}
    transformers = CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks))

    def make() -> Any:
        engine, special = read_tokenizer(folder)
        split_as_openai(engine, lower=True)
        return make_tokenizer(engine, special, 77, 0, "ftfy_lower")

    learnt, fresh = make(), make()

    def open_clip_from_nothing() -> Any:
        simple.cache = {token: token for token in ("<start_of_text>", "<end_of_text>")}
        return simple(texts)

    def from_nothing() -> Any:
        fresh._encode._known.clear()
        return fresh(texts).ids

    return {
        "open_clip, from nothing": open_clip_from_nothing,
        "open_clip, again": lambda: simple(texts),
        "transformers": lambda: transformers(texts, padding=True, return_tensors="pt").input_ids,
        "Sightword, from nothing": from_nothing,
        "Sightword, again": lambda: learnt(texts).ids,
    }


def measure(name: str, runs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    rows = {side: run() for side, run in runs.items()}  # all sides warm
    expected = rows["open_clip, again"]
    for side in ("Sightword, from nothing", "Sightword, again"):
        width = rows[side].shape[1]
        if not (rows[side] == expected[:, :width]).all() or expected[:, width:].any():
            raise SystemExit(f"{name}: not the same ids as open_clip's")
    seconds: dict[str, list[float]] = {side: [] for side in runs}
    for _ in range(repeats):
        for side, run in runs.items():
            begun = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - begun)
    print(f"\n{name}: {len(expected):,} texts, the ids of all are open_clip's")
    for side, times in seconds.items():
        peer = f"open_clip, {'from nothing' if side.endswith('from nothing') else 'again'}"
        ratios = [theirs / mine for theirs, mine in zip(seconds[peer], times, strict=True)]
        print(
            f"{side:25}{statistics.median(times):8.3f} s ({min(times):.3f}–{max(times):.3f})"
            f"{statistics.median(ratios):8.1f} x open_clip ({min(ratios):.1f}–{max(ratios):.1f})"
        )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--names", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    clip = import_open_clip()
    import tokenizers
    import transformers
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    os.environ["TOKENIZERS_PARALLELISM"] = "true"  # open_clip turns it off for all
    names = IMAGENET_CLASSNAMES[: arguments.names]
    prompts = [template(name) for name in names for template in OPENAI_IMAGENET_TEMPLATES]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, open_clip "
        f"{clip.__version__}, tokenizers {tokenizers.__version__}, transformers {transformers.__version__}"
    )
    with tempfile.TemporaryDirectory() as temporary:
        shutil.copy(Path(clip.__file__).parent / "bpe_simple_vocab_16e6.txt.gz", temporary)
        results = {
            name: measure(name, sides(Path(temporary), texts), arguments.repeats)
            for name, texts in (("prompts", prompts), ("random words", random_texts(len(prompts) // 10)))
        }
    if arguments.json:
        arguments.json.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
