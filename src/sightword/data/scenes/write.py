"""Scenes, edits and clips on disk: shards that are a source like any other, with the truth in them and beside them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from sightword.data.companions import RECORD, companions_record
from sightword.data.scenes.captions import short_caption
from sightword.data.scenes.claims import Facts
from sightword.data.scenes.clips import Clip, Clips
from sightword.data.scenes.edits import Edit, Edits
from sightword.data.scenes.pairs import companions_of
from sightword.data.scenes.record import annotated, categories, clip_record, edit_record, scene_record, text_record
from sightword.data.scenes.scene import Scene, Scenes
from sightword.data.scenes.texts import texts_of
from sightword.data.shard_writer import ShardWriter, check_sizes
from sightword.data.shards import MASK
from sightword.files import refuse_existing, whole_folder

COCO, EDITS = "instances.json", "edits.jsonl"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Written:
    """out: the folder. pictures: in the shards, clips among them. instances: things in COCO's file."""

    out: Path
    shards: int
    pictures: int
    instances: int
    bytes: int

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "out": str(self.out)}


def write_scenes(
    made: Scenes | Edits | Clips,
    out: str | Path,
    pairs: int = 10_000,
    megabytes: int = 1000,
    progress: Callable[[int, int | None], None] | None = None,
) -> Written:
    """Write OUT/00000.tar and following, each with its index; the folder appears when all is written.

    A sample is a picture (`.png`; a clip: `.webp`), a caption (`.txt`) and all that is known (`.json`); a scene's grey
    `.mask.png` holds the places of its things, from 1 on. Scenes that were asked for with one thing each have its name
    for a label (`.cls`). Beside the shards lie `instances.json`, as COCO has it (of clips the truth is in the shards),
    and of edits `edits.jsonl`: which pictures are before and after, the words, the distractors. The same scenes give
    the same files to the bit. pairs, megabytes: at most so many in a shard. Raises RequestError where the folder is
    there already, SightwordError where it cannot be written.
    """
    check_sizes(pairs, megabytes)
    out = Path(out)
    refuse_existing(out)
    with whole_folder(out) as folder, ShardWriter(folder, pairs, megabytes) as shards:
        if isinstance(made, Clips):
            pictures, instances = _write_clips(_counted(made, progress), shards)
        elif isinstance(made, Edits):
            pictures, instances = _write_edits(made, _counted(made, progress), folder, shards)
        else:
            pictures, instances = _write_pictures(made, _counted(made, progress), folder, shards)
    return Written(out, shards.shards, pictures, instances, shards.bytes)


def _counted(made: Sequence[_T], progress: Callable[[int, int | None], None] | None) -> Iterator[tuple[int, _T]]:
    for index, one in enumerate(made):
        yield index, one
        if progress:
            progress(index + 1, len(made))


def _write_pictures(
    scenes: Scenes, made: Iterable[tuple[int, Scene]], folder: Path, shards: ShardWriter
) -> tuple[int, int]:
    with _Coco(folder / COCO, scenes) as coco:
        for index, scene in made:
            texts = texts_of(scenes, index)
            label = scene.things[0].name if scenes.things == (1, 1) else ""
            companions = replace(companions_of(scenes, Facts(scene), index), long=(texts.long.text,))
            told = {"texts": text_record(texts), RECORD: companions_record(companions)}
            members = _scene(scene, coco.name, texts.short.text, told, label)
            coco.add(scene, shards.add(members))
    return coco.pictures, coco.instances


def _write_edits(edits: Edits, made: Iterable[tuple[int, Edit]], folder: Path, shards: ShardWriter) -> tuple[int, int]:
    with _Coco(folder / COCO, edits.scenes) as coco, (folder / EDITS).open("w", encoding="utf-8") as lines:
        for index, edit in made:
            files = {}
            scenes = (edit.before, edit.after, *(one.scene for one in edit.distractors))
            for place, scene in enumerate(scenes):
                short = short_caption(Facts(scene), edits.scenes.generator(index, "edit captions", place))
                files[scene.key] = f"{coco.name}.png"
                members = _scene(scene, coco.name, short.text, {"texts": {"short": text_record(short)}})
                coco.add(scene, shards.add(members))
            lines.write(json.dumps(edit_record(edit, files), ensure_ascii=False) + "\n")
    return coco.pictures, coco.instances


def _write_clips(made: Iterable[tuple[int, Clip]], shards: ShardWriter) -> tuple[int, int]:
    count = 0
    for index, clip in made:
        name = f"{index:09}"
        shards.add(
            [
                (f"{name}.webp", clip.encode()),
                (f"{name}.txt", clip.caption.encode()),
                (f"{name}.json", _json(clip_record(clip))),
            ]
        )
        count = index + 1
    return count, 0


def _scene(scene: Scene, name: str, text: str, told: dict[str, Any], label: str = "") -> list[tuple[str, bytes]]:
    return [
        (f"{name}.png", _png(scene.image())),
        (f"{name}.txt", text.encode()),
        *([(f"{name}.cls", label.encode())] if label else []),
        (f"{name}.json", _json({**scene_record(scene), **told})),
        (f"{name}.{MASK}", _png(Image.fromarray(scene.instances()))),
    ]


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _json(record: dict[str, Any]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode()


class _Coco:
    """COCO's file, written as the pictures come: a million of them would not fit into memory."""

    def __init__(self, path: Path, scenes: Scenes) -> None:
        self.pictures = self.instances = 0
        self._size = scenes.size
        self._shards: list[tuple[str, int]] = []  # with the number of its first picture
        self._file = path.open("w", encoding="utf-8")
        found = categories(scenes.sprites)
        self._numbers = {category["name"]: category["id"] for category in found}
        info = {"description": f"sightword scenes: {scenes.sprites.name}, {scenes.split}, seed {scenes.seed}"}
        self._file.write(f'{{"info": {json.dumps(info)}, "licenses": [], "categories": {json.dumps(found)},\n')
        self._file.write('"annotations": [')

    def __enter__(self) -> _Coco:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        with self._file:
            if kind is not None:
                return
            self._file.write('],\n"images": [')
            shard = -1
            for number in range(self.pictures):
                shard += shard + 1 < len(self._shards) and self._shards[shard + 1][1] == number
                record = {
                    "id": number,
                    "file_name": f"{number:09}.png",
                    "shard": self._shards[shard][0],
                    "width": self._size,
                    "height": self._size,
                }
                self._file.write(",\n" * (number > 0) + json.dumps(record))
            self._file.write("]}\n")

    @property
    def name(self) -> str:
        """Of the next picture's files."""
        return f"{self.pictures:09}"

    def add(self, scene: Scene, shard: str) -> None:
        """The next picture."""
        if not self._shards or self._shards[-1][0] != shard:
            self._shards.append((shard, self.pictures))
        for annotation in annotated(scene, self.pictures, self.instances + 1, self._numbers):
            self._file.write(",\n" * (self.instances > 0) + json.dumps(annotation))
            self.instances += 1
        self.pictures += 1
