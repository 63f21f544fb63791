"""Relations, counts and what hides what, against brute force on the pixels of each thing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sightword.data.scenes import Scene, Scenes, Sprites
from sightword.data.scenes.layout import paint
from sightword.data.scenes.truth import Relation, counts, group_counts, hidden_by, relations


@pytest.fixture(scope="module")
def scenes(sprites: Sprites) -> list[Scene]:
    return list(Scenes(sprites, count=60, size=64, seed=1, things=(2, 6)))


def alone(scene: Scene, number: int) -> np.ndarray:
    """Where a thing would be seen if it were the only one."""
    return paint(scene.sprites, [scene.placed[number]], scene.size) == 1


def test_relations_hold_for_every_pixel(scenes: list[Scene]) -> None:
    found: Counter[str] = Counter()
    for scene in scenes:
        expected = set()
        for one in range(len(scene.things)):
            for other in range(len(scene.things)):
                if one == other:
                    continue
                (y, x), (their_y, their_x) = np.nonzero(alone(scene, one)), np.nonzero(alone(scene, other))
                ours = alone(scene, one) & alone(scene, other) & (scene.instances() == one + 1)
                theirs = alone(scene, one) & alone(scene, other) & (scene.instances() == other + 1)
                within = x.min() >= their_x.min() and x.max() <= their_x.max()
                within = within and y.min() >= their_y.min() and y.max() <= their_y.max()
                holds = {
                    "left of": (x[:, None] < their_x).all(),
                    "right of": (x[:, None] > their_x).all(),
                    "above": (y[:, None] < their_y).all(),
                    "below": (y[:, None] > their_y).all(),
                    "in front of": ours.any(),
                    "behind": theirs.any(),
                    "inside": within and one > other,
                }
                expected |= {Relation(one, word, other) for word, true in holds.items() if true}  # type: ignore[arg-type]
                assert hidden_by(scene)[one, other] == ours.sum()
        assert set(relations(scene)) == expected
        found.update(relation.word for relation in expected)
    assert len(found) == 7


def test_each_relation_has_its_converse(scenes: list[Scene]) -> None:
    converse = {"left of": "right of", "above": "below", "in front of": "behind"}
    for scene in scenes:
        found = {(one.subject, one.word, one.object) for one in relations(scene)}
        for word, back in converse.items():
            assert {(b, back, a) for a, said, b in found if said == word} == {r for r in found if r[1] == back}


def test_counts(scenes: list[Scene]) -> None:
    for scene in scenes:
        names = [thing.name for thing in scene.things]
        assert counts(scene) == {name: names.count(name) for name in names}
        assert sum(group_counts(scene).values()) == len(names)
