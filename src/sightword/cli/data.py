"""`sightword data pack` and `sightword data check`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from sightword.cli.options import Json
from sightword.errors import RequestError

_SHOWN = 20  # lines of what is broken; all of it is in the JSON


def pack(
    source: Annotated[str, Parameter(help="A folder of images with .txt files, a CSV or Parquet table, or shards.")],
    out: Annotated[Path, Parameter(help="The new folder.")],
    *,
    pairs: Annotated[int, Parameter(help="Pairs of a shard, at most.")] = 10_000,
    megabytes: Annotated[int, Parameter(help="Size of a shard, at most.")] = 1000,
    json: Json = None,
) -> int:
    """Write image-text pairs as WebDataset shards: OUT/00000.tar, … with an index beside each.

    The bytes of pictures are copied as they are. The pairs are shuffled, always in the same way; the same pairs give
    the same files. The folder appears when it is whole. Pairs that cannot be read are named and left out.

    Example: sightword data pack photos/ shards --pairs 5000
    """
    from sightword.cli.output import console, counting_progress, write_json
    from sightword.data.pack import pack as pack_pairs

    with counting_progress("packing") as progress:
        packed = pack_pairs(source, out, pairs, megabytes, progress)
    write_json(json, packed.to_json())
    _name([f"{skip.key}: {skip.reason}" for skip in packed.skipped])
    left = f", {len(packed.skipped):,} left out" if packed.skipped else ""
    console.print(
        f"{packed.pairs:,} pairs in {packed.shards:,} shards, {packed.bytes / 1e6:,.1f} MB{left}: {packed.out}",
        soft_wrap=True,
        markup=False,
    )
    return 0


def check(
    *shards: Annotated[str, Parameter(help="Shards, folders, patterns, {00000..00099}.tar, URLs.", negative=())],
    json: Json = None,
) -> int:
    """Name everything in shards that a training would have to leave out: every picture is decoded.

    The exit code is 1 where anything is broken.

    Example: sightword data check "shards/{00000..00099}.tar" --json broken.json
    """
    from sightword.cli.output import console, counting_progress, write_json
    from sightword.data.check import check as check_shards

    if not shards:
        raise RequestError("no shards: name files, folders or patterns")
    with counting_progress("checking") as progress:
        checked = check_shards(shards, progress)
    write_json(json, checked.to_json())
    _name([f"{entry.shard}: {entry.key}: {entry.reason}" for entry in checked.broken])
    console.print(
        f"{checked.pairs:,} whole pairs in {checked.shards:,} shards, {len(checked.broken):,} broken", soft_wrap=True
    )
    return checked.exit_code


def _name(faults: list[str]) -> None:
    from sightword.cli.output import errors

    for fault in faults[:_SHOWN]:
        errors.print(f"sightword: {fault}", soft_wrap=True, markup=False)
    if len(faults) > _SHOWN:
        errors.print(f"sightword: and {len(faults) - _SHOWN:,} more: --json has all of them")
