"""Readers of labelled, captioned, composed and masked data sets and of questions with options, one a layout: what lies
on a disk → `Labelled`, `Captioned`, `Composed`, `Masked`, `Choices` or `Denials`."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import Field

from sightword.data.readers.arrays import Cifar, Idx, Stl10
from sightword.data.readers.base import SPLITS, Data, Reader, Split
from sightword.data.readers.birdsnap import Birdsnap
from sightword.data.readers.cc_neg import CcNeg
from sightword.data.readers.composed import Circo, Cirr, FashionIQ, GeneCis, SceneEdits
from sightword.data.readers.emoji_questions import EmojiQuestions
from sightword.data.readers.few_shot_masks import Coco20i, Fss1000, Pascal5i
from sightword.data.readers.foils import Boxes, Foils, NegBenchQuestions
from sightword.data.readers.folder import ClassFolders
from sightword.data.readers.h5 import H5Arrays
from sightword.data.readers.joined import FoldersAndTable
from sightword.data.readers.karpathy import Karpathy
from sightword.data.readers.kitti import Kitti
from sightword.data.readers.lists import Lists, Voc
from sightword.data.readers.long_captions import NegBenchQueries, ShareGpt4V, TextBesidePicture
from sightword.data.readers.masks import IndexMasks
from sightword.data.readers.matlab import Flowers, MatList, Svhn
from sightword.data.readers.negated import NegatedTable
from sightword.data.readers.packages import Digits, EmojiTest, package_folder
from sightword.data.readers.parquet import Parquet
from sightword.data.readers.pickled import CifarPython, PickledArrays
from sightword.data.readers.pixels import PixelTable
from sightword.data.readers.records import Records
from sightword.data.readers.scenes import EmojiScenes, SceneCaptions, SceneDenials, SceneQuestions
from sightword.data.readers.table import Table
from sightword.data.readers.vid_robust import VidRobust
from sightword.data.readers.videos import FramesOfVideos
from sightword.data.readers.webdataset import WebDataset
from sightword.data.readers.word_order import WordOrder
from sightword.data.readers.ytbb_robust import YtbbRobust

AnyReader: TypeAlias = Annotated[
    Birdsnap
    | Boxes
    | CcNeg
    | Cifar
    | CifarPython
    | Circo
    | Cirr
    | ClassFolders
    | Coco20i
    | Digits
    | EmojiQuestions
    | EmojiScenes
    | EmojiTest
    | FashionIQ
    | Flowers
    | Foils
    | FoldersAndTable
    | Fss1000
    | GeneCis
    | H5Arrays
    | Idx
    | IndexMasks
    | Karpathy
    | Kitti
    | Lists
    | MatList
    | NegBenchQueries
    | NegBenchQuestions
    | NegatedTable
    | Parquet
    | Pascal5i
    | PickledArrays
    | PixelTable
    | Records
    | SceneCaptions
    | SceneDenials
    | SceneEdits
    | SceneQuestions
    | ShareGpt4V
    | Stl10
    | Svhn
    | Table
    | TextBesidePicture
    | VidRobust
    | Voc
    | WebDataset
    | WordOrder
    | YtbbRobust,
    Field(discriminator="kind"),
]

__all__ = [
    "SPLITS",
    "AnyReader",
    "ClassFolders",
    "Data",
    "FramesOfVideos",
    "IndexMasks",
    "NegatedTable",
    "Parquet",
    "Reader",
    "Split",
    "Table",
    "WebDataset",
    "package_folder",
]
