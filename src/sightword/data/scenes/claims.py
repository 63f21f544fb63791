"""What a sentence says of a scene, apart from its words, and whether that is true."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from sightword.data.scenes.scene import Scene, Thing
from sightword.data.scenes.truth import Relation, places, relations

Says: TypeAlias = Literal["there", "count", "relation", "background"]


@dataclass(frozen=True, slots=True)
class Which:
    """Things that are all of this; "" is any. places: all of these hold."""

    name: str = ""
    colour: str = ""
    size: str = ""
    places: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """there: some thing is of `what`. count: `number` things are, no more. relation: one of `what` is `word` one of
    `other`. background: it is called `word`. denied: it is said that this is not so."""

    says: Says
    what: Which = Which()
    number: int = 0
    word: str = ""
    other: Which = Which()
    denied: bool = False


class Facts:
    """A scene with what is worked out from it when first asked for."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.counts = Counter(thing.name for thing in scene.things)

    @cached_property
    def relations(self) -> list[Relation]:
        return relations(self.scene)

    def places(self, thing: Thing) -> tuple[str, ...]:
        return places(thing, self.scene.size)

    def single(self) -> list[Thing]:
        """The things that are the only ones of their name."""
        return [thing for thing in self.scene.things if self.counts[thing.name] == 1]

    def fits(self, thing: Thing, which: Which) -> bool:
        return (
            which.name in ("", thing.name)
            and which.colour in ("", thing.colour)
            and which.size in ("", thing.size)
            and which.group in ("", thing.group)
            and set(which.places) <= set(self.places(thing))
        )

    def holds(self, claim: Claim) -> bool:
        """Whether what is said is so."""
        things = self.scene.things
        if claim.says == "background":
            true = same_background(claim.word, self.scene.background)
        elif claim.says == "relation":
            true = any(
                one.word == claim.word
                and self.fits(things[one.subject], claim.what)
                and self.fits(things[one.object], claim.other)
                for one in self.relations
            )
        else:
            found = sum(self.fits(thing, claim.what) for thing in things)
            true = found == claim.number if claim.says == "count" else found > 0
        return true != claim.denied

    def all_hold(self, claims: Iterable[Claim]) -> bool:
        return all(map(self.holds, claims))


def same_background(one: str, other: str) -> bool:
    """`red and white stripes` are `white and red stripes`."""
    return sorted(one.split()) == sorted(other.split())
