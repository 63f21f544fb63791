"""Suites of data sets: which there are, what of them is on this machine, and opening their splits."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from sightword.config import Config, parse
from sightword.data.choices import Choices
from sightword.data.composed import Composed
from sightword.data.denials import Denials
from sightword.data.labelled import Captioned, Labelled, bytes_of
from sightword.data.masked import Masked
from sightword.data.pairs import fraction_of
from sightword.data.readers import Data, Reader, Split, package_folder
from sightword.data.readers.base import numbered
from sightword.data.videos import Videos
from sightword.errors import RequestError
from sightword.evaluation.spec import Spec, read_spec
from sightword.labels.prompts import read_templates

_SPECS = Path(__file__).parent / "specs"
_SUITES = _SPECS / "suites.toml"
VALIDATION_SHARE = 0.2
_CONTENTS = {
    "classification": "classes",
    "retrieval": "captions",
    "composed": "queries",
    "segmentation": "masks",
    "choice": "questions",
    "layers": "captions with denials",
}
_KINDS = {
    Labelled: "classification",
    Captioned: "retrieval",
    Composed: "composed",
    Masked: "segmentation",
    Choices: "choice",
    Denials: "layers",
}


class Suite(Config):
    """title: what the suite is for. specs: names, in the order of tables."""

    title: str
    specs: tuple[str, ...]


@dataclass(frozen=True)
class Place:
    """A data set that is there: its folder, how it lies in it, and the splits."""

    spec: Spec
    root: Path
    reader: Reader
    splits: tuple[Split, ...]


@dataclass(frozen=True)
class Missing:
    """A data set that is not there, or lacks something: what, and how to get it, where that is known."""

    spec: Spec
    reason: str
    get: str

    def __str__(self) -> str:
        return "; ".join(filter(None, (f"{self.spec.name}: {self.reason}", self.get)))


@dataclass(frozen=True)
class Wanted:
    """A data set that is asked for. root: the folder that holds its folder, or is it."""

    spec: Spec
    root: str | Path | None


@cache
def suites() -> dict[str, Suite]:
    """All suites, by name."""
    values = tomllib.loads(_SUITES.read_text(encoding="utf-8"))
    return {name: parse(Suite, entry, f"{_SUITES}: {name}") for name, entry in values.items()}


@cache
def all_specs() -> dict[str, Spec]:
    """Every spec that Sightword brings, by name."""
    found = [read_spec(file) for file in sorted(_SPECS.glob("*.toml")) if file != _SUITES]
    return {spec.name: spec for spec in found}


def suite(name: str) -> tuple[Spec, ...]:
    """The data sets of a suite, or the one of this name. Raises RequestError."""
    specs = all_specs()
    if name in suites():
        return tuple(specs[one] for one in suites()[name].specs)
    if name in specs:
        return (specs[name],)
    raise RequestError(
        f"no suite and no data set is called {name!r}; suites: {', '.join(suites())}; data sets: {', '.join(specs)}"
    )


def locate(spec: Spec, root: str | Path | None = None) -> Place | Missing:
    """Where a data set is. root: the folder that holds its folder, or that folder itself; one that comes with a package
    needs none."""
    if spec.requires:
        try:
            folders = [package_folder(*package) for package in spec.requires.items()][:1]
        except RequestError as missing:
            reason, _, way = str(missing).partition(": ")
            return Missing(spec, reason, way)
    elif root is None:
        return Missing(spec, "no folder of data sets was named", _how_to_get(spec, Path("DATA")))
    else:
        root = Path(root).parent if Path(root).is_file() else Path(root)
        folders = [root / name for name in spec.folder_names if (root / name).is_dir()]
        if root.name in spec.folder_names and root.is_dir():
            folders.append(root)
    tries = [(folder, reader) for folder in folders for reader in spec.readers]
    if root is not None and not spec.requires:
        # Archives are often unpacked beside one another. Only those whose files cannot be taken for another's.
        tries += [(Path(root), reader) for reader in spec.layouts if reader.unmistakable]
    # A layout without the test may be the beginning of another one.
    partly: Place | None = None
    for folder, reader in tries:
        try:
            splits = reader.splits(folder)
        except RequestError as failure:  # a part of it is not there
            return Missing(spec, str(failure), _how_to_get(spec, folder.parent))
        if "test" in splits:
            return Place(spec, folder, reader, splits)
        if splits and partly is None:
            partly = Place(spec, folder, reader, splits)
    if partly is not None:
        return partly
    if folders:
        reason = f"nothing in {', '.join(map(str, folders))} is in a layout that is known for it"
    else:
        reason = f"{Path(root or '') / spec.name} is not there"
    return Missing(spec, reason, _how_to_get(spec, Path(root or "DATA")))


def open_split(spec: Spec, root: str | Path | None, split: Split) -> Data:
    """A split of a data set, its classes named as its spec says. Raises RequestError: the data set or the split is not
    there, or it is not what the spec describes."""
    place = _found(spec, root)
    if spec.test_share is not None:
        return _part(place, split, spec.test_share)
    if split not in place.splits:
        raise RequestError(
            f"{spec.name}: {place.root} has no split {split!r}; it has {', '.join(place.splits)}"
            + (" (`open_development` holds some of `train` out)" if split == "validation" else "")
        )
    return _named(spec, place.reader.read(place.root, split, spec.name))


def open_development(spec: Spec, root: str | Path | None) -> tuple[Labelled, Labelled]:
    """What may be looked at when something is chosen: (pictures to fit on, pictures to choose by). The test is not
    reachable from here.

    The second is the data set's own validation split, or else a fifth of its training pictures, by a hash of each
    picture's key; its `made` says so. Raises RequestError where there is nothing to train on.
    """
    place = _found(spec, root)
    there = ("train", "test") if spec.test_share is not None else place.splits
    if "train" not in there or spec.task != "classification":
        raise RequestError(f"{spec.name}: {place.root} has no training pictures that something could be chosen on")
    train = _labelled(open_split(spec, root, "train"))
    if "validation" in there:
        return train, _labelled(open_split(spec, root, "validation"))
    held = np.array([fraction_of(f"validation {key}") < VALIDATION_SHARE for key in train.keys], np.bool_)
    if held.all() or not held.any():
        raise RequestError(f"{spec.name}: {len(train)} training pictures are too few to hold some out")
    made = f"validation: a fifth of the training pictures, by a hash of each key ({train} has no split for it)"
    fit = train.take(np.flatnonzero(~held), made="; ".join(filter(None, (train.made, f"without the {made}"))))
    return fit, train.take(np.flatnonzero(held), split="validation", made="; ".join(filter(None, (train.made, made))))


def open_choosing(spec: Spec, root: str | Path | None) -> Labelled:
    """The pictures on which something may be chosen that does not train: the second of `open_development`, which a data
    set with a validation split and no training pictures has too. Raises RequestError where there are none."""
    there = _found(spec, root).splits
    if "validation" in there and spec.test_share is None:
        return _labelled(open_split(spec, root, "validation"))
    return open_development(spec, root)[1]


def _found(spec: Spec, root: str | Path | None) -> Place:
    place = locate(spec, root)
    if isinstance(place, Missing):
        raise RequestError(str(place))
    return place


def _part(place: Place, split: Split, share: float) -> Labelled:
    """By a hash of each picture's bytes, so that copies of one picture are on one side."""
    if split == "validation":
        raise RequestError(f"{place.spec.name}: has no split {split!r}; it has train, test")
    whole = _labelled(_named(place.spec, place.reader.read(place.root, place.splits[0], place.spec.name)))
    tests = [fraction_of(hashlib.sha256(bytes_of(image)).hexdigest()) < share for image in whole.images]
    rows = np.flatnonzero(np.array(tests, np.bool_) == (split == "test"))
    made = f"the data come as one part: {share:.0%} of them are the test, by a hash of each picture's bytes"
    return whole.take(rows, split=split, made=made)


def _named(spec: Spec, data: Data) -> Data:
    """Checks that it is what the spec describes, and calls the classes as the spec does."""
    kind = _kind(data)
    if spec.task != kind:
        raise RequestError(f"{data}: has {_CONTENTS[kind]}, and {spec.title} is a data set of {_CONTENTS[spec.task]}")
    if isinstance(data, Captioned | Choices | Composed | Denials):
        return data
    if isinstance(data, Masked):
        return _named_masks(spec, data)
    precision = spec.metric in ("map", "map11") or isinstance(data, Videos)
    if precision != data.multi_label and spec.metric != "roc_auc":  # which is of either
        has = "several labels a picture" if data.multi_label else "one label a picture"
        raise RequestError(f"{data}: has {has}, and {spec.title} is measured by {spec.metric}")
    classes = data.classes
    if spec.classes and classes == numbered(len(classes)):
        if len(classes) > len(spec.classes):
            raise RequestError(f"{data}: has the label {len(classes) - 1}, and {len(spec.classes)} classes are known")
        classes = spec.classes
    if spec.count is not None and len(classes) != spec.count:
        raise RequestError(f"{data}: has {len(classes)} classes, and {spec.title} has {spec.count}")
    labels = data.labels
    if labels.ndim == 2 and labels.shape[1] < len(classes):
        raise RequestError(f"{data}: labels are of {labels.shape[1]} classes, and {len(classes)} are known")
    return replace(data, classes=called_by(spec, classes))


def _kind(data: Data) -> str:
    return next(kind for made, kind in _KINDS.items() if isinstance(data, made))


def _named_masks(spec: Spec, data: Masked) -> Masked:
    """Pictures that are made when they are asked for stay so: only what the spec says makes it look at them."""
    if spec.count is not None and len(data.classes) != spec.count:
        raise RequestError(f"{data}: has {len(data.classes)} labels, and {spec.title} has {spec.count}")
    if not spec.synonyms and not spec.rename:
        return data
    return replace(
        data, pictures=[replace(picture, labels=called_by(spec, picture.labels)) for picture in data.pictures]
    )


def called_by(spec: Spec, classes: tuple[str, ...]) -> tuple[str, ...]:
    """The names that a layout brings, as the spec says them."""
    if spec.synonyms:
        classes = tuple(name.split(",")[0].strip() for name in classes)
    return tuple(spec.rename.get(name, name) for name in classes)


def _labelled(data: Data) -> Labelled:
    if not isinstance(data, Labelled):
        raise RequestError(f"{data}: has {_CONTENTS[_kind(data)]}, and labels are wanted")
    return data


def _how_to_get(spec: Spec, root: Path) -> str:
    ways = []
    if spec.hub:
        ways.append(f"hf download {spec.hub} --repo-type dataset --local-dir {root / spec.name}")
    if spec.get:
        ways.append(spec.get.replace("DATA", str(root)))
    return "or: ".join(f"{way} " for way in ways).strip() or f"from {spec.source}, into {root / spec.name}"


def find_data(names: Sequence[str], root: str | Path | None) -> tuple[Wanted, ...]:
    """What is asked for: suites and data sets by name, whose folders are in `root`; or a user's own folder or table.
    Each once. Raises RequestError for what is neither."""
    found: dict[str, Wanted] = {}
    for name in names:
        if name not in suites() and name not in all_specs() and Path(name).exists():
            own = Wanted(Spec.of_folder(name), Path(name))
            found[name] = own
        else:
            found |= {spec.name: Wanted(spec, root) for spec in suite(name)}
    return tuple(found.values())


def choose_among(wanted: Sequence[Wanted], prompts: str | Path) -> tuple[Wanted, ...]:
    """With the templates among which prompts are chosen. prompts: `choose` for the data sets' own and general ones, or
    a file with a template a line. Raises RequestError."""
    if str(prompts) == "choose":
        return tuple(wanted)
    if not Path(prompts).is_file():
        raise RequestError(f"prompts {str(prompts)!r}: say `choose`, or name a file with a template a line")
    candidates = read_templates(prompts)
    return tuple(replace(one, spec=one.spec.model_copy(update={"candidates": candidates})) for one in wanted)
