"""All that is known of a scene, as values that JSON and COCO's tools take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any

import numpy as np

from sightword.data.rle import run_lengths
from sightword.data.scenes.clips import Clip
from sightword.data.scenes.edits import Edit
from sightword.data.scenes.scene import Scene
from sightword.data.scenes.sprites import Sprites
from sightword.data.scenes.truth import relations


def scene_record(scene: Scene) -> dict[str, Any]:
    """`things` from back to front, whose places `relations` go by (subject, word, object)."""
    return {
        "key": scene.key,
        "size": scene.size,
        "background": scene.background,
        "things": [asdict(thing) for thing in scene.things],
        "relations": [[one.subject, one.word, one.object] for one in relations(scene)],
        "absent": scene.absent,
    }


def text_record(said: Any) -> Any:
    """Captions, questions and the like with what they claim; fields that hold what they hold by default are left out,
    or most of a claim would be empty."""
    if isinstance(said, list | tuple):
        return [text_record(one) for one in said]
    if not is_dataclass(said):
        return said
    values = ((field, getattr(said, field.name)) for field in fields(said))
    return {field.name: text_record(value) for field, value in values if value != field.default}


def clip_record(clip: Clip) -> dict[str, Any]:
    """Frame by frame: the things with their masks, and which of them it happens to."""
    frames = []
    for frame, subject in zip(clip.frames, clip.subjects, strict=True):
        instances = frame.instances()
        things = [
            {**asdict(thing), "mask": run_lengths(instances == number)}
            for number, thing in enumerate(frame.things, start=1)
        ]
        frames.append({"subject": subject, "things": things})
    return {
        "key": clip.key,
        "motion": clip.motion,
        "captions": clip.captions,
        "size": clip.frames[0].size,
        "background": clip.frames[0].background,
        "milliseconds": clip.milliseconds,
        "frames": frames,
    }


def edit_record(edit: Edit, files: Mapping[str, str]) -> dict[str, Any]:
    """files: of each scene, by its key."""
    return {
        "kind": edit.kind,
        "subject": edit.subject,
        "instructions": edit.instructions,
        "before": files[edit.before.key],
        "after": files[edit.after.key],
        "distractors": [{"picture": files[one.scene.key], "why": one.why} for one in edit.distractors],
    }


def categories(sprites: Sprites) -> list[dict[str, Any]]:
    """COCO's: every name of the sprites, sorted, so that all splits have the same numbers."""
    groups = {sprite.name: sprite.group for sprite in sprites}
    return [
        {"id": number, "name": name, "supercategory": groups[name]}
        for number, name in enumerate(sorted(groups), start=1)
    ]


def annotated(scene: Scene, image: int, first: int, numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """COCO's, of what is seen of each thing; what is hidden altogether has none.

    image: the picture's number. first: that of the first annotation. numbers: of the categories.
    """
    instances = scene.instances()
    found: list[dict[str, Any]] = []
    for number, thing in enumerate(scene.things, start=1):
        mask = instances == number
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            continue
        left, top = int(columns[0]), int(rows[0])
        found.append(
            {
                "id": first + len(found),
                "image_id": image,
                "category_id": numbers[thing.name],
                "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
                "area": int(mask.sum()),
                "iscrowd": 0,
                "segmentation": run_lengths(mask),
            }
        )
    return found
