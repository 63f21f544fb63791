"""Pictures composed of drawings, of which everything is known: what is there, where, in which colour and size, what
hides what, and what is not there though it could be."""

from sightword.data.scenes.labels import masked_scenes
from sightword.data.scenes.scene import Scene, Scenes, Thing
from sightword.data.scenes.splits import SPLITS, Split
from sightword.data.scenes.sprites import EMOJI_GROUPS, Sprite, Sprites, emoji_sprites, folder_sprites
from sightword.data.scenes.truth import Relation, counts, group_counts, hidden_by, relations

__all__ = [
    "EMOJI_GROUPS",
    "SPLITS",
    "Relation",
    "Scene",
    "Scenes",
    "Split",
    "Sprite",
    "Sprites",
    "Thing",
    "counts",
    "emoji_sprites",
    "folder_sprites",
    "group_counts",
    "hidden_by",
    "masked_scenes",
    "relations",
]
