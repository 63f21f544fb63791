"""A zero-shot head of 1,000 labels x 80 templates, ViT-B/32, against open_clip and transformers on the same weights.

    make peers
    .venv/bin/python benchmarks/zero_shot_head.py [--repeats 3] [--part 10] [--labels 1000] [--json FILE]

Labels and templates are ImageNet's, as open_clip brings them; random weights of the full size. Ours makes the whole
head, from the words, in fp32 and in bf16, with nothing remembered. The peers would take hours: each makes the head of
the first `--part` labels with all 80 templates, and its time is scaled up by the number of labels (the time of both is
that of their matrix products over padded rows, so it grows with the number of prompts). open_clip by its
`build_zero_shot_classifier`, which pads to 77 tokens; transformers as its documentation does it: `padding=True`, and
one call a label. Within a repeat all sides take turns; ratios are made within a repeat. The rows of our head for those
labels must be open_clip's within 1e-5 in fp32, or nothing is reported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["SIGHTWORD_CACHE"] = ""

from folders import make_b32
from peers import import_open_clip

LIMIT, COSINE = 1e-5, 0.999


def sides(work: Path, labels: list[str], templates: list[str], part: int) -> dict[str, Callable[[], Any]]:
    """What each side runs; the result is a head [labels, D]."""
    clip = import_open_clip()
    import torch
    from transformers import AutoTokenizer, CLIPModel

    import sightword
    from sightword.labels.zero_shot import make_head

    folder = f"local-dir:{work / 'open_clip'}"
    theirs, tokenizer = clip.create_model(folder).eval(), clip.get_tokenizer(folder)
    model = CLIPModel.from_pretrained(work / "transformers").eval()
    processor = AutoTokenizer.from_pretrained(work / "transformers")
    ours = {name: sightword.load(work / "open_clip", device="cpu", precision=name) for name in ("fp32", "bf16")}

    def open_clip() -> Any:
        some: list[Any] = [(lambda label, t=template: t.replace("{}", label)) for template in templates]
        return clip.build_zero_shot_classifier(theirs, tokenizer, labels[:part], some, 10, "cpu").T.numpy()

    @torch.inference_mode()
    def transformers() -> Any:
        rows = []
        for label in labels[:part]:
            inputs = processor([t.replace("{}", label) for t in templates], padding=True, return_tensors="pt")
            features = model.get_text_features(**inputs).pooler_output
            rows.append(torch.nn.functional.normalize(features, dim=-1).mean(dim=0))
        return torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()

    def sightword_in(precision: str) -> Callable[[], Any]:
        return lambda: make_head(ours[precision], tuple(labels), tuple(templates))

    return {
        "open_clip": open_clip,
        "transformers": transformers,
        "Sightword fp32": sightword_in("fp32"),
        "Sightword bf16": sightword_in("bf16"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", type=int, default=10, help="labels that the peers do")
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--work", type=Path, help="where the model's folders are made, or are already")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()

    import_open_clip()
    import numpy as np
    import torch
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES, OPENAI_IMAGENET_TEMPLATES

    # Without the names that stand there twice: labels are to be told apart.
    labels = list(dict.fromkeys(IMAGENET_CLASSNAMES))[: arguments.labels]
    templates = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    part = min(arguments.part, len(labels))
    scale = {"open_clip": len(labels) / part, "transformers": len(labels) / part}
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        make_b32(work)
        runs = sides(work, labels, templates, part)
        seconds: dict[str, list[float]] = {side: [] for side in runs}
        heads: dict[str, Any] = {}
        for _ in range(arguments.repeats):
            for side, run in runs.items():
                begun = time.perf_counter()
                heads[side] = run()
                seconds[side].append((time.perf_counter() - begun) * scale.get(side, 1.0))
                print(f"{side}: {seconds[side][-1]:.1f} s", flush=True)

    reference = heads["open_clip"]
    difference = {side: float(np.abs(head[:part] - reference).max()) for side, head in heads.items()}
    cosine = float((heads["Sightword bf16"] * heads["Sightword fp32"]).sum(axis=1).min())
    if not (difference["Sightword fp32"] <= LIMIT and cosine >= COSINE):
        raise SystemExit(f"not the same heads: {difference}, bf16 to fp32 {cosine}")
    print(f"\n{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{len(labels)} labels x {len(templates)} templates; the peers' times from {part} labels, scaled up\n")
    for side, times in seconds.items():
        line = f"{side:16}{statistics.median(times):9.1f} s ({min(times):.1f}–{max(times):.1f})"
        for peer in ("open_clip", "transformers"):
            ratios = [theirs / mine for theirs, mine in zip(seconds[peer], times, strict=True)]
            line += f"   {statistics.median(ratios):6.1f} x {peer} ({min(ratios):.1f}–{max(ratios):.1f})"
        print(f"{line}   largest difference to open_clip {difference[side]:.1e}")
    print(f"bf16 to fp32: smallest cosine of a label {cosine:.5f}")
    if arguments.json:
        arguments.json.write_text(json.dumps({"seconds": seconds, "difference": difference, "cosine": cosine}) + "\n")


if __name__ == "__main__":
    main()
