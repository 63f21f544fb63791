"""A data set as data: where it comes from, how it lies on a disk, its prompts, its metric, and what to beware of.

The specs of `specs/` are facts of the data sets and of CLIP's paper (Radford et al. 2021, arXiv 2103.00020; tables 9 to
11, and the published templates in factored form). Names of classes come with the data wherever the data have them.
"""

from __future__ import annotations

import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from sightword.config import Config, Positive, parse
from sightword.data.labelled import Labelled
from sightword.data.masked import Masked
from sightword.data.readers import (
    AnyReader,
    ClassFolders,
    Data,
    IndexMasks,
    NegatedTable,
    Parquet,
    Reader,
    Table,
    WebDataset,
)
from sightword.data.videos import Videos
from sightword.errors import RequestError
from sightword.labels.prompts import PHOTO, PLAIN, expand

Metric: TypeAlias = Literal[
    "top1", "top5", "mean_per_class", "map11", "map", "roc_auc", "top1_top5_mean", "recall_at_k",
    "miou", "miou_foreground", "pm0_pm10_mean", "mean_per_kind", "map_at_k",
]  # fmt: skip
CHOICE_METRICS = ("top1", "mean_per_kind")
MASK_METRICS = ("miou", "miou_foreground")
VIDEO_METRIC = "pm0_pm10_mean"
Share: TypeAlias = Annotated[float, Field(gt=0, lt=1)]

# How any data set may lie, whatever else its spec says.
USUAL: tuple[Reader, ...] = (WebDataset(), Parquet(), ClassFolders(), Table())
# A user's own masks: 255 does not count, `classnames.txt` beside the folders names the others.
OWN_MASKS = IndexMasks(pictures="images", masks="masks", parts={"test": "test"})


class Paper(Config):
    """What CLIP's paper says of the data set (table 9). train: with the validation pictures."""

    classes: Positive | None = None
    train: Positive | None = None
    test: Positive | None = None


class Spec(Config):
    """One data set.

    name: short, for commands and tables. title: in full. metric: the paper's. layouts: how it lies where it comes from;
    CLIP_benchmark's WebDataset, Hugging Face's Parquet, folders of classes and CSV tables are always tried too.
    folders: what its folder may be called, beside `name`. hub: its repository on the Hub, as CLIP_benchmark lays it
    out. get: how else to get it. source: who made it. licence: in words.
    classes: names, in the order of the labels, for layouts that bring none. rename: better names for some that a layout
    brings. synonyms: names come with their synonyms behind commas, and the first one counts. count: of the classes.
    engineered: the data set's own prompts, as patterns (`a photo of {a|the} {}.`), written by people who knew the task;
    the plain one is the same for all sets. candidates: templates among which prompts may be chosen; without any, all of
    the data set's and some general ones.
    parents: which of ImageNet's 1,000 classes each class is, so that their names can be asked too: a JSON file in the
    data set's folder (class to names, joined by `; `); `synset`: each class's folder is called by the synset of one; or
    `layout`: the data set's own layout tells it.
    reference: the groups of pictures (emoji vendors, say) that training may show: the others are shifts of style.
    test_share: the data come as one part; so much of them is the test, and the rest is for training.
    requires: the packages that bring the data, by their names for Python and for pip; the data lie in the first.
    background: what pixels are called that show none of the classes, where a data set of masks has a name for them.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
    title: str
    task: Literal["classification", "retrieval", "composed", "segmentation", "choice", "layers"] = "classification"
    metric: Metric = "top1"
    layouts: tuple[AnyReader, ...] = ()
    folders: tuple[str, ...] = ()
    hub: str = ""
    get: str = ""
    source: str
    licence: str
    classes: tuple[str, ...] = ()
    rename: dict[str, str] = Field(default={})
    synonyms: bool = False
    count: Positive | None = None
    engineered: tuple[str, ...] = ()
    parents: str = ""
    reference: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    test_share: Share | None = None
    requires: dict[str, str] = Field(default={})
    background: str = ""
    paper: Paper = Paper()
    caveats: tuple[str, ...] = ()

    @field_validator("engineered")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for pattern in patterns:
                expand(pattern)
        except RequestError as wrong:
            raise ValueError(str(wrong)) from None
        return patterns

    @model_validator(mode="after")
    def _consistent(self) -> Spec:
        if self.count and self.classes and len(self.classes) != self.count:
            raise ValueError(f"{len(self.classes)} classes are named, and `count` is {self.count}")
        if (self.metric == "recall_at_k") != (self.task == "retrieval") and self.task != "composed":
            raise ValueError("retrieval is measured by recall_at_k, and nothing else is")
        if self.task == "composed" and self.metric not in ("recall_at_k", "map_at_k"):
            raise ValueError("composed retrieval is measured by recall_at_k or map_at_k")
        if (self.task == "segmentation") != (self.metric in MASK_METRICS):
            raise ValueError(f"segmentation is measured by {' or '.join(MASK_METRICS)}, and nothing else is")
        if self.task == "choice" and self.metric not in CHOICE_METRICS:
            raise ValueError(f"a choice is measured by {' or '.join(CHOICE_METRICS)}")
        if self.task != "choice" and self.metric == "mean_per_kind":
            raise ValueError("mean_per_kind is of a choice")
        if self.metric == "miou_foreground" and not self.background:
            raise ValueError("miou_foreground needs `background`, which it leaves out")
        return self

    @property
    def plain(self) -> tuple[str, ...]:
        """The template that is the same for every data set; captions, and what pixels are called, stand as they are."""
        return PHOTO if self.task == "classification" else PLAIN

    @cached_property
    def ensemble(self) -> tuple[str, ...]:
        """The engineered templates; none where the data set has no such."""
        return tuple(dict.fromkeys(template for pattern in self.engineered for template in expand(pattern)))

    @property
    def folder_names(self) -> tuple[str, ...]:
        return self.folders if "." in self.folders else (self.name, *self.folders)

    @property
    def readers(self) -> tuple[Reader, ...]:
        return (*self.layouts, *(() if self.requires or self.task in ("segmentation", "choice", "layers") else USUAL))

    def remarks(self, data: Data) -> tuple[str, ...]:
        """What a reader of results should know of this split: caveats, and where it is not the paper's."""
        found = [*self.caveats]
        if not isinstance(data, Masked) and data.made:
            found.append(data.made)
        told = {"train": self.paper.train, "test": self.paper.test}.get(data.split)
        if told is not None and told != len(data):
            among = " (those for validation among them)" if data.split == "train" else ""
            found.append(f"the paper counts {told:,} pictures in `{data.split}`{among}, and here are {len(data):,}")
        if self.paper.classes and isinstance(data, Labelled) and self.paper.classes != len(data.classes):
            found.append(f"the paper counts {self.paper.classes:,} classes, and here are {len(data.classes):,}")
        if not isinstance(data, Masked) and data.skipped:
            found.append(f"{len(data.skipped):,} pictures were left out when the data were listed")
        if self.metric == VIDEO_METRIC:
            found += _of_anchors(data)
        return tuple(found)

    @classmethod
    def of_folder(cls, path: str | Path, metric: Metric = "top1") -> Spec:
        """A spec of a user's own data: a folder in one of the usual layouts, of one folder for each class, of `images`
        and `masks`; a table (`.csv`, `.tsv`) of pictures and labels, or one (`.parquet`) of negated captions, for the
        task `layers`. Its root is that path. metric: `map` or
        `roc_auc` for data with several labels a picture."""
        path = Path(path)
        if not path.exists():
            raise RequestError(f"{path}: no such file or folder")
        layouts: tuple[AnyReader, ...] = (ClassFolders(whole="test"),)
        negated = path.is_file() and path.suffix.lower() == ".parquet"
        if negated:
            layouts = (NegatedTable(file=path.name),)
        elif path.is_file():
            if path.suffix.lower() not in (".csv", ".tsv"):
                raise RequestError(
                    f"{path}: own data are a folder, a .csv or .tsv table of pictures and labels, or a .parquet table "
                    "of negated captions"
                )
            layouts = (Table(file=path.name),)
        elif OWN_MASKS.splits(path):
            layouts, metric = (OWN_MASKS,), "miou"
        elif any(reader.splits(path) for reader in USUAL):
            layouts = ()
        name = "".join(sign if sign.isalnum() and sign.isascii() else "-" for sign in path.stem.lower())
        return cls(
            name=name.strip("-") or "data",
            title=path.name,
            task="layers" if negated else "segmentation" if metric in MASK_METRICS else "classification",
            metric=metric,
            source="its user",
            licence="its owner's",
            layouts=layouts,
            folders=(".",),
        )


def _of_anchors(data: Data) -> list[str]:
    if not isinstance(data, Videos):
        return [
            "anchor frames alone: its top-1 is pm-0; pm-10, which asks for the frames around them too, is not measured "
            "without the authors' lists of them, and the paper's figure is the mean of both"
        ]
    found = []
    if data.alone:
        found.append(
            f"{data.alone:,} of {len(data.sets):,} anchors have no frame around them that was reviewed: their pm-10 is "
            "pm-0, as in the authors' evaluation"
        )
    if data.lost:
        found.append(f"frames around {data.lost:,} anchors could not be read: pm-10 is of those that are left")
    return found


def read_spec(file: Path) -> Spec:
    """A spec from its TOML file. Raises RequestError."""
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as failure:
        raise RequestError(f"{file}: not a readable TOML file ({failure})") from None
    return parse(Spec, values, str(file))
