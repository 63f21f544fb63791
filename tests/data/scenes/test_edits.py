"""Edits: what is said is what changed, nothing else did, and neither picture nor words alone find the scene after."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sightword.data.scenes import KINDS, Edit, Edits, Scene, Scenes, Sprites, Thing
from sightword.data.scenes.changes import WITHOUT_SUBJECT
from sightword.data.scenes.colours import HUES
from sightword.data.scenes.instructions import the
from sightword.data.scenes.layout import LEAST_VISIBLE, Placed
from sightword.data.scenes.nouns import countable
from sightword.data.scenes.splits import SPLITS, held_out
from sightword.errors import RequestError

WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "top": (0, -1), "down": (0, 1), "bottom": (0, 1)}


@pytest.fixture(scope="module")
def edits(sprites: Sprites) -> Edits:
    return Edits(Scenes(sprites, count=80, size=64, seed=1))


@pytest.fixture(scope="module")
def made(edits: Edits) -> list[Edit]:
    return list(edits)


def touched(scene: Scene, placed: Placed) -> np.ndarray:
    """The pixels on which a drawing leaves anything at all."""
    found = np.zeros((scene.size, scene.size), bool)
    alpha = np.asarray(placed.drawn(scene.sprites).picture.getchannel("A")) > 0
    rows, columns = np.nonzero(alpha)
    rows, columns = rows + placed.top, columns + placed.left
    inside = (rows >= 0) & (rows < scene.size) & (columns >= 0) & (columns < scene.size)
    found[rows[inside], columns[inside]] = True
    return found


def named(scene: Scene, instances: np.ndarray) -> np.ndarray:
    return np.array(["", *(thing.name for thing in scene.things)])[instances]


def test_nothing_changes_but_what_is_said(made: list[Edit]) -> None:
    for edit in made:
        before, after = edit.before, edit.after
        pixels = [np.asarray(scene.image()).astype(int) for scene in (before, after)]
        masks = [scene.instances() for scene in (before, after)]
        changed = np.abs(pixels[0] - pixels[1]).max(axis=2) > 0
        assert changed.any()
        if edit.kind == "background":
            np.testing.assert_array_equal(*masks)
            assert before.placed == after.placed
            assert before.background != after.background
            continue
        assert before.ground == after.ground
        gone, came = set(before.placed) - set(after.placed), set(after.placed) - set(before.placed)
        assert (len(gone), len(came)) == {"add": (0, 1), "remove": (1, 0)}.get(edit.kind, (1, 1))
        allowed = np.zeros_like(changed)
        for placed in (*gone, *came):
            allowed |= touched(before, placed)
        assert not (changed & ~allowed).any()
        # Elsewhere the same things are seen.
        np.testing.assert_array_equal(named(before, masks[0])[~allowed], named(after, masks[1])[~allowed])


def test_the_scene_after_is_what_was_asked_for(made: list[Edit]) -> None:
    """Judged by the words of the instruction and the two truths."""
    seen = Counter(edit.kind for edit in made)
    assert set(seen) == set(KINDS)
    for edit in made:
        before, after = Counter(map(looks, edit.before.things)), Counter(map(looks, edit.after.things))
        gone, came = list((before - after).elements()), list((after - before).elements())
        for words in edit.instructions:
            if edit.subject >= 0:
                assert countable(edit.before.things[edit.subject].name) in words
            if edit.kind in ("replace", "add"):
                assert countable(came[0][0]) in words
                assert gone == ([looks(edit.before.things[edit.subject])] if edit.kind == "replace" else [])
            elif edit.kind == "remove":
                assert gone == [looks(edit.before.things[edit.subject])]
                assert not came
            elif edit.kind == "background":
                assert edit.after.background in words
            elif edit.kind == "recolour":
                assert came[0][1] in words
                assert came[0][1] in HUES
                assert (gone[0][0], gone[0][2]) == (came[0][0], came[0][2])
            else:
                one, other = (scene.instances() == edit.subject + 1 for scene in (edit.before, edit.after))
                if edit.kind == "move":
                    way = next(WAYS[word] for word in WAYS if word in words.split(" ", 2)[-1].replace("wards", ""))
                    box, there = (scene.things[edit.subject].box for scene in (edit.before, edit.after))
                    steps = [there[side] - box[side] for side in range(4)]
                    along = steps[0::2] if way[0] else steps[1::2]
                    assert max(along, key=abs) * sum(way) >= 0.2 * edit.before.size - 1
                else:
                    sides = [scene.placed[edit.subject].side for scene in (edit.before, edit.after)]
                    assert (sides[1] > sides[0]) == (edit.kind == "larger")
                    assert max(sides) >= 1.4 * min(sides)
                    assert one.sum() != other.sum()


def looks(thing: Thing) -> tuple[str, str, str]:
    return thing.name, thing.colour, thing.size


def test_the_words_mean_one_thing(sprites: Sprites, made: list[Edit]) -> None:
    for edit in made:
        assert 1 <= len(edit.instructions) == len(set(edit.instructions)) <= 4
        assert edit.instruction == edit.instructions[0]
        assert (edit.subject < 0) == (edit.kind in WITHOUT_SUBJECT)
    assert len({edit.instruction for edit in made}) > 70
    assert sum(len(edit.instructions) for edit in made) > 3 * len(made)

    def thing(name: str, colour: str, size: str) -> Thing:
        return Thing(name, "", "", "", colour, size, (0, 0, 1, 1), 1.0)

    def words(*things: Thing) -> str:
        rng = np.random.default_rng(0)
        found = the(things, 0, rng)
        return found.bare if found else ""

    dog = thing("dog", "red", "large")
    assert words(dog) == "dog"
    assert words(dog, thing("guide dog", "blue", "large")) == "red dog"
    assert words(thing("guide dog", "blue", "large"), dog) == "guide dog"
    assert words(dog, thing("dog", "multicoloured", "small")) in ("large dog", "big dog")
    assert words(dog, thing("dog", "red", "small"), thing("dog", "blue", "large")) in ("large red dog", "big red dog")
    assert words(dog, dog) == ""
    assert words(thing("black cat", "blue", "large"), thing("black cat", "red", "large")) == ""


def test_distractors_need_picture_and_words(made: list[Edit]) -> None:
    for edit in made:
        whys = [one.why for one in edit.distractors]
        assert whys.count("other picture") == 1
        assert len(whys) >= 2
        shown = [edit.before, edit.after, *(one.scene for one in edit.distractors)]
        assert len({scene.image().tobytes() for scene in shown}) == len(shown)
        assert len({scene.key for scene in shown}) == len(shown)
        for one in edit.distractors:
            shared = set(edit.before.placed) & set(one.scene.placed)
            same_ground = one.scene.ground == edit.before.ground
            if one.why != "other picture":
                # As near to the picture before as the right one is: all but one thing, or the ground.
                assert len(shared) >= len(edit.before.placed) - 1
                assert same_ground or len(shared) == len(edit.before.placed)
                assert one.scene.placed != edit.after.placed or not same_ground
            else:
                # What the words ask for is there, in another picture.
                assert not same_ground
                if edit.kind == "background":
                    assert one.scene.ground == edit.after.ground
                elif edit.kind == "remove":
                    gone = edit.before.things[edit.subject].name
                    assert gone not in {thing.name for thing in one.scene.things}
                else:
                    came = set(edit.after.placed) - set(edit.before.placed)
                    assert came <= set(one.scene.placed)


def test_edits_depend_on_their_index_alone(sprites: Sprites, edits: Edits, made: list[Edit]) -> None:
    more = Edits(Scenes(sprites, count=1000, size=64, seed=1))
    for index in (50, 3, 17):
        assert more[index] == made[index]
        assert more[index].after.image().tobytes() == made[index].after.image().tobytes()
    assert edits[-1] == made[-1]
    assert len(edits) == 80
    with pytest.raises(IndexError):
        edits[80]


def test_edits_keep_the_rules_of_their_split(sprites: Sprites) -> None:
    for split in SPLITS:
        if split == "unseen-styles":  # these have one style
            continue
        scenes = Scenes(sprites, split, 12, size=64)
        for edit in Edits(scenes):
            for scene in (edit.before, edit.after, *(one.scene for one in edit.distractors)):
                assert {thing.name for thing in scene.things} <= set(scenes.names)
                assert bool(held_out(scene.things)) == (split == "unseen-combinations")
                assert all(thing.visible >= LEAST_VISIBLE for thing in scene.things)
                present = {word for thing in scene.things for word in thing.name.split()}
                assert all(present.isdisjoint(name.split()) for name in scene.absent)


def test_what_was_removed_is_absent(sprites: Sprites) -> None:
    for edit in list(Edits(Scenes(sprites, count=15, size=64), ("remove",))):
        gone = edit.before.things[edit.subject].name
        present = {word for thing in edit.after.things for word in thing.name.split()}
        assert (gone in edit.after.absent) == present.isdisjoint(gone.split())


def test_kinds_that_cannot_be(sprites: Sprites) -> None:
    scenes = Scenes(sprites, count=3, size=64)
    with pytest.raises(RequestError, match="no edits of the kind 'mirror'; there are: replace, remove, add"):
        Edits(scenes, ("move", "mirror"))  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="no kinds of edits"):
        Edits(scenes, ())
    # One thing alone cannot go.
    with pytest.raises(RequestError, match=r"no edits \(remove\) can be made"):
        Edits(Scenes(sprites, count=3, size=64, things=(1, 1)), ("remove",))[0]
