"""From nothing to the first vectors: a process that loads a local ViT-B/32 and embeds one picture and one text.

    make peers
    .venv/bin/python benchmarks/load_time.py [--repeats 7] [--work FOLDER] [--json FILE]

Random weights of the full size in two layouts: transformers' (loaded by transformers and by Sightword) and open_clip's
(by open_clip and by Sightword), each as its library's documentation does it. Every run is a new process, and the sides
take turns, so that whatever else the machine does falls on all of them; the files are in the system's cache (one round
before the counted ones sees to that). Wall time is from the start of the process to its end. `import` is also shown
alone: on a machine without a working torchvision the peers spend a part of it on that (peers.py).
The vectors of all sides must be the same within 1e-4, or nothing is reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TEXT = "a photo of a cat"
# side → the layout of its folder
SIDES = {
    "transformers": "transformers",
    "sightword on transformers' folder": "transformers",
    "open_clip": "open_clip",
    "sightword on open_clip's folder": "open_clip",
}
LIMIT = 1e-4


def sightword(folder: str, picture: str) -> tuple[float, float, Any, Any]:
    import sightword

    load = sightword.load  # what is imported lazily belongs to the import
    imported = time.perf_counter()
    model = load(folder, device="cpu")
    loaded = time.perf_counter()
    return imported, loaded, model.embed_images([picture])[0], model.embed_texts([TEXT])[0]


def transformers(folder: str, picture: str) -> tuple[float, float, Any, Any]:
    from peers import declare_operators

    declare_operators()
    import torch
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    imported = time.perf_counter()
    model = CLIPModel.from_pretrained(folder).eval()
    processor = CLIPProcessor.from_pretrained(folder)
    loaded = time.perf_counter()
    inputs = processor(text=[TEXT], images=Image.open(picture), return_tensors="pt", padding=True)
    with torch.inference_mode():
        made = model(**inputs)
    return imported, loaded, made.image_embeds[0].numpy(), made.text_embeds[0].numpy()


def open_clip(folder: str, picture: str) -> tuple[float, float, Any, Any]:
    from peers import import_open_clip

    clip = import_open_clip()
    import torch
    from PIL import Image

    imported = time.perf_counter()
    model, _, preprocess = clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = clip.get_tokenizer(f"local-dir:{folder}")
    loaded = time.perf_counter()
    with torch.inference_mode():
        image = model.encode_image(preprocess(Image.open(picture)).unsqueeze(0), normalize=True)
        text = model.encode_text(tokenizer([TEXT]), normalize=True)
    return imported, loaded, image[0].numpy(), text[0].numpy()


def run(side: str, folder: str, picture: str) -> None:
    begun = time.perf_counter()
    work = {"transformers": transformers, "open_clip": open_clip}.get(side, sightword)
    imported, loaded, image, text = work(folder, picture)
    ended = time.perf_counter()
    phases = {"import": imported - begun, "load": loaded - imported, "embed": ended - loaded}
    print(json.dumps({"phases": phases, "vectors": [image.tolist(), text.tolist()]}))


def make_folders(work: Path) -> None:
    """The model in both layouts, and a picture."""
    import numpy as np
    from folders import make_b32
    from PIL import Image

    make_b32(work)
    # Smooth, and no larger than the model's input: what each makes of a picture is not what is compared here.
    y, x = np.mgrid[:224, :224] / 224
    pixels = np.stack([np.sin(9 * (a * x + y) + a) for a in (1, 2, 3)], axis=-1)
    Image.fromarray(np.round((pixels + 1) * 127.5).astype(np.uint8)).save(work / "picture.png")


def measure(work: Path, repeats: int) -> dict[str, Any]:
    import numpy as np

    times: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    vectors: dict[str, Any] = {}
    for round_number in range(repeats + 1):
        for side, layout in SIDES.items():
            command = [sys.executable, __file__, "--side", side, "--work", str(work / layout)]
            begun, used = time.perf_counter(), _children()
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            wall, cpu = time.perf_counter() - begun, _children() - used
            if made.returncode:
                raise SystemExit(f"{side}: {made.stderr}")
            told = json.loads(made.stdout.splitlines()[-1])
            vectors[side] = np.array(told["vectors"])
            if round_number:
                times[side].append({"wall": wall, "cpu": cpu, **told["phases"]})
    reference = vectors["transformers"]
    difference = {side: float(np.abs(found - reference).max()) for side, found in vectors.items()}
    if not max(difference.values()) <= LIMIT:
        raise SystemExit(f"the sides do not compute the same: {difference}")
    return {"times": times, "difference": difference}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def show(result: dict[str, Any]) -> None:
    import torch

    threads = torch.get_num_threads()
    print(f"{platform.machine()}, torch {torch.__version__}, {threads} threads; seconds, median (range)\n")
    print(f"{'':36}{'process':>20}{'import':>9}{'load':>9}{'embed':>9}{'CPU time':>20}{'largest difference':>21}")
    for side, runs in result["times"].items():
        phases = "".join(f"{statistics.median(row[part] for row in runs):9.2f}" for part in ("import", "load", "embed"))
        wall, cpu = (_spread([row[what] for row in runs]) for what in ("wall", "cpu"))
        print(f"{side:36}{wall:>20}{phases}{cpu:>20}{result['difference'][side]:21.1e}")
    for peer in ("transformers", "open_clip"):
        ours = next(side for side, layout in SIDES.items() if layout == peer and side != peer)
        pairs = [*zip(result["times"][peer], result["times"][ours], strict=True)]
        wall, cpu = (_spread([theirs[what] / mine[what] for theirs, mine in pairs]) for what in ("wall", "cpu"))
        print(f"\n{peer} takes {wall} times as long, and {cpu} times the CPU time", end="")
    print()


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--work", type=Path, help="where the folders are made, or are already")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.side:
        run(arguments.side, str(arguments.work), str(arguments.work.parent / "picture.png"))
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        if not (work / "picture.png").exists():
            make_folders(work)
        result = measure(work, arguments.repeats)
    if arguments.json:
        arguments.json.write_text(json.dumps(result["times"], indent=2) + "\n")
    show(result)


if __name__ == "__main__":
    main()
