"""`sightword data pack`, `sightword data check`, `sightword data scenes` and `sightword data negate`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

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


def scenes(
    out: Annotated[Path, Parameter(help="The new folder.")],
    *,
    count: Annotated[int, Parameter(help="How many scenes, edits or clips.")],
    kind: Annotated[
        Literal["pictures", "edits", "clips"],
        Parameter(help="Single pictures, pictures before and after an instruction, or short videos."),
    ] = "pictures",
    size: Annotated[int, Parameter(help="Pixels a side.")] = 128,
    split: Annotated[
        str, Parameter(help="train, validation, unseen-styles, unseen-names or unseen-combinations.")
    ] = "train",
    seed: Annotated[int, Parameter(help="Of all that is drawn by chance.")] = 0,
    sprites: Annotated[
        Path | None, Parameter(help="A folder of transparent pictures, named by what they show; else the emoji.")
    ] = None,
    styles: Annotated[
        list[str] | None,
        Parameter(consume_multiple=True, negative=(), help="Drawings of these styles alone (emoji: Goog, Twtr, …)."),
    ] = None,
    things: Annotated[tuple[int, int], Parameter(help="From how many to how many in a picture.", negative=())] = (1, 6),
    pairs: Annotated[int, Parameter(help="Pictures of a shard, at most.")] = 10_000,
    megabytes: Annotated[int, Parameter(help="Size of a shard, at most.")] = 1000,
    sheet: Annotated[Path | None, Parameter(help="Draw the first ones with their words there, a PNG.")] = None,
    json: Json = None,
) -> int:
    """Write pictures composed of drawings, with captions and exact truth, as WebDataset shards: OUT/00000.tar, ….

    Each has its masks and all that is known beside it; OUT/instances.json has boxes and masks as COCO does,
    OUT/edits.jsonl what was edited. The same command gives the same files. The folder appears when it is whole.

    Example: sightword data scenes scenes --count 10000 --sheet scenes.png
    """
    from sightword.cli.output import console, counting_progress, write_json
    from sightword.data.scenes import Clips, Edits, Scenes, emoji_sprites, folder_sprites, write_scenes
    from sightword.data.scenes.sheet import check_sheet, write_sheet

    if sheet:
        check_sheet(sheet, out)
    found = folder_sprites(sprites) if sprites else emoji_sprites()
    found = found.in_styles(styles) if styles else found
    drawn = Scenes(found, cast(Any, split), count, size, seed, things)
    made = Edits(drawn) if kind == "edits" else Clips(drawn) if kind == "clips" else drawn
    with counting_progress("drawing") as progress:
        written = write_scenes(made, out, pairs, megabytes, progress)
    if sheet:
        write_sheet(made, sheet)
    skipped = [{"key": skip.key, "reason": skip.reason} for skip in found.skipped]
    write_json(json, {**written.to_json(), "kind": kind, "split": split, "skipped": skipped})
    _name([f"{skip.key}: {skip.reason}" for skip in found.skipped])
    console.print(
        f"{written.pictures:,} {'clips' if kind == 'clips' else 'pictures'} in {written.shards:,} shards, "
        f"{written.bytes / 1e6:,.1f} MB: {written.out}",
        soft_wrap=True,
        markup=False,
    )
    return 0


def negate(
    captions: Annotated[
        Path, Parameter(help="A Parquet, CSV, TSV or JSONL table, or a folder with COCO's captions_*.json.")
    ],
    out: Annotated[Path, Parameter(help="The new table, a .parquet file.")],
    *,
    objects: Annotated[
        Path | None,
        Parameter(help="What is in each picture: a table, or COCO's instances_*.json; or a .txt of names alone."),
    ] = None,
    pictures: Annotated[
        Path | None, Parameter(help="The folder in which paths of pictures begin; that of the captions otherwise.")
    ] = None,
    against: Annotated[
        list[Path] | None,
        Parameter(
            consume_multiple=True, negative=(), help="Other sets; pictures and captions of theirs are left out here."
        ),
    ] = None,
    held_out: Annotated[float, Parameter(help="Share of the pictures that goes into OUT.held-out.parquet.")] = 0.0,
    seed: Annotated[int, Parameter(help="Of all that is drawn by chance.")] = 0,
    json: Json = None,
) -> int:
    """Write captions that deny something: what is in the picture (false), and what is plausible and not there (true).

    Each comes with affirmations of the same two things, and with four options of which one is true. A probe that sees
    the texts alone tries to tell the true ones; where it does so better than by chance, the exit code is 1.

    Example: sightword data negate captions.parquet --objects objects.parquet negated.parquet
    """
    from sightword.cli.output import console, counting_progress, errors, probe_table, write_json
    from sightword.data.negate import negate as negate_captions
    from sightword.evaluation.text_only import text_only

    with counting_progress("negating") as progress:
        made = negate_captions(
            captions,
            objects,
            out,
            probe=text_only,
            pictures=pictures,
            against=against or (),
            held_out=held_out,
            seed=seed,
            progress=progress,
        )
    write_json(json, made.to_json())
    console.print(probe_table(made.findings))
    for line in made.remarks():
        errors.print(f"sightword: {line}", soft_wrap=True, markup=False)
    console.print(made.summary(), soft_wrap=True, markup=False)
    return made.exit_code


def _name(faults: list[str]) -> None:
    from sightword.cli.output import errors

    for fault in faults[:_SHOWN]:
        errors.print(f"sightword: {fault}", soft_wrap=True, markup=False)
    if len(faults) > _SHOWN:
        errors.print(f"sightword: and {len(faults) - _SHOWN:,} more: --json has all of them")
