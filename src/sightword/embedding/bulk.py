"""`embed`: the pictures of folders, tables and shards to vectors in Parquet, in parts, so that a job can be killed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sightword.checkpoints.families import load_folder
from sightword.checkpoints.fingerprint import fingerprint
from sightword.checkpoints.hub import locate
from sightword.data.listing import Listing
from sightword.data.stored import printable
from sightword.embedding import Precision
from sightword.embedding.base import Decode
from sightword.embedding.cluster import embed_on_cluster, ray_cluster
from sightword.embedding.embedder import Embedder, find_device
from sightword.embedding.outfolder import begin, finish, locked, open_list, unfinished
from sightword.embedding.parts import FORMAT, MANIFEST, read_manifest
from sightword.embedding.processes import embed_in_processes, find_devices
from sightword.embedding.worker import Job, Worker
from sightword.errors import RequestError

# Told (images done, of how many); the second is None as long as they are being listed.
Progress = Callable[[int, "int | None"], None]


@dataclass(frozen=True)
class Report:
    """images = embedded + skipped, in all sittings. now: images that were done in this one, in `seconds`."""

    out: Path
    images: int
    embedded: int
    skipped: int
    dim: int
    parts: int
    precision: str
    now: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """1 where not one image could be read. Some that could not are listed, and nothing is lost."""
        return 0 if self.embedded else 1

    def to_json(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "images": self.images,
            "embedded": self.embedded,
            "skipped": self.skipped,
            "dim": self.dim,
            "parts": self.parts,
            "precision": self.precision,
            "now": self.now,
            "seconds": round(self.seconds, 3),
        }


def embed(
    source: str | Path | Sequence[str | Path],
    model: str | Path,
    out: str | Path,
    *,
    image_column: str | None = None,
    key_column: str | None = None,
    part_size: int = 10_000,
    batch_size: int = 64,
    device: str | Sequence[str] = "auto",
    precision: Precision = "fp32",
    decode: Decode = "fast",
    ray: str | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Embed the pictures of `source` with the checkpoint `model` into the folder `out`.

    source: folders, image files, Parquet tables, WebDataset shards; `sightword.data.listing` says how they are read.
    device, precision, decode: as in `Embedder`; several devices share the work, as do all GPUs where `auto` or `cuda`
    finds more than one. ray: the address of a cluster, `auto` or `local`; workers: of it, otherwise one a GPU, or one a
    machine.

    The pictures are listed first and the list is kept, so that the same call goes on where a killed one stopped.
    `read_vectors` reads the result. Raises RequestError, also where `out` holds something else.
    """
    # Absolute, so that the list means the same files wherever the call is repeated.
    sources = [Path(os.path.abspath(one)) for one in ([source] if isinstance(source, str | Path) else source)]
    out = Path(os.path.abspath(out))
    _check(sources, part_size, batch_size, workers)
    began = time.monotonic()
    with ExitStack() as stack:
        stack.enter_context(locked(out))
        cluster = stack.enter_context(ray_cluster(ray, workers)) if ray else None
        devices = [] if cluster else find_devices(device)
        for name in devices:
            find_device(name)  # refused here, before a worker of its own would fail
        if precision == "auto" and (out / MANIFEST).exists():
            precision = read_manifest(out)["precision"]
        encoder, contract, tokenizer = load_folder(*locate(model))
        mark = fingerprint(encoder, contract)  # of the weights as they are saved
        embedder = None
        if cluster:
            precision = cluster.precision if precision == "auto" else precision
        else:
            embedder = Embedder(encoder, contract, tokenizer, devices[0], precision, decode)
            precision = embedder.precision
        settings = {
            "format": FORMAT,
            "model": str(model),
            "fingerprint": mark,
            "dim": contract.architecture.embed_dim,
            "dtype": "float16",
            "precision": precision,
            "decode": decode,
            "source": [printable(str(path)) for path in sources],
            "image_column": image_column,
            "key_column": key_column,
            "part_size": part_size,
        }
        images = Listing(sources, image_column, key_column)
        manifest = begin(out, settings, images, lambda count: progress and progress(count, None))
        done = now = 0
        if not manifest["finished"]:
            with open_list(out) as work:
                sizes = work.sizes
            units = unfinished(out, sizes, mark)
            now = sum(sizes[unit] for unit in units)
            done = manifest["images"] - now

            def tick(images: int) -> None:
                nonlocal done
                done += images
                if progress:
                    progress(done, manifest["images"])

            tick(0)
            place = os.path.abspath(model) if os.path.exists(model) else model
            job = Job(out, place, mark, precision, decode, batch_size, image_column)
            if cluster:
                embed_on_cluster(job, cluster, units, sizes, tick)
            elif embedder and len(devices) == 1:
                worker = Worker(job, embedder)
                for unit in units:
                    worker.embed(unit, tick)
            else:
                # Each process loads its own; this one gives back what it has of the first GPU.
                del embedder, encoder
                torch.cuda.empty_cache()
                embed_in_processes(job, devices, units, tick)
            manifest = finish(out, manifest, len(sizes))
    counts = {name: manifest[name] for name in ("images", "embedded", "skipped", "dim", "precision")}
    return Report(out=out, parts=len(manifest["parts"]), now=now, seconds=time.monotonic() - began, **counts)


def _check(sources: Sequence[Path], part_size: int, batch_size: int, workers: int | None) -> None:
    if not sources:
        raise RequestError("no source: name folders, images, tables or shards")
    for number, source in enumerate(sources):
        if not source.exists():
            raise RequestError(f"{source}: no such file or folder")
        if source in sources[:number]:
            raise RequestError(f"{source}: stands twice among the sources")
    for name, value in (("part_size", part_size), ("batch_size", batch_size), ("workers", workers)):
        if value is not None and value < 1:
            raise RequestError(f"{name} must be at least 1, not {value}")
