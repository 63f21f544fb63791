"""Classifying files and folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightword.data.pairs import Skipped, is_image_file
from sightword.errors import ImageError, RequestError
from sightword.labels.classifier import Classifier, Rule


@dataclass(frozen=True)
class Classified:
    """top: for each file its best (label, score). skipped: the files that could not be read."""

    files: tuple[Path, ...]
    top: tuple[tuple[tuple[str, float], ...], ...]
    skipped: tuple[Skipped, ...]
    labels: tuple[str, ...]
    rule: Rule = "softmax"

    @property
    def exit_code(self) -> int:
        """0 where every file was read, 1 where some were not, 2 where none was."""
        return 0 if not self.skipped else 1 if self.files else 2

    @property
    def note(self) -> str:
        """What the scores are."""
        if self.rule == "sigmoid":
            return (
                "Scores are a sigmoid, of each label by itself: they do not add up to 1, and a picture of something "
                "else may score low on all. They are not calibrated: look at some of your pictures before you set a "
                "limit."
            )
        if len(self.labels) == 1:
            return "With one label its score is always 1: add labels for what it might be instead."
        return (
            f"Scores are a softmax over these {len(self.labels)} labels: which fits best, not how likely it is to be "
            "true. A picture of something else still gets scores that add up to 1."
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "images": [
                {"image": str(file), "top": [{"label": label, "score": score} for label, score in best]}
                for file, best in zip(self.files, self.top, strict=True)
            ],
            "labels": list(self.labels),
            "scores": self.note,
            "skipped": [{"image": skip.key, "reason": skip.reason} for skip in self.skipped],
        }


def find_images(paths: Sequence[Path], wanted: Callable[[Path], bool] = is_image_file) -> list[Path]:
    """The files themselves, and those of folders at any depth that are `wanted`, but for hidden ones. Raises
    RequestError for a path that is not there, and for a folder without images."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if _shown(file.relative_to(path)) and wanted(file))
            inside = [file for file in inside if file.is_file()]
            if not inside:
                raise RequestError(f"{path}: no image files in this folder")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise RequestError(f"{path}: no such file or folder")
    return found


def _shown(path: Path) -> bool:
    return not any(part.startswith(".") for part in path.parts)


def classify_files(
    classifier: Classifier, files: Sequence[Path], top: int, progress: Callable[[int, int], None] | None = None
) -> Classified:
    """Classify what can be read, note what cannot."""
    errors: dict[int, ImageError] = {}
    predictions = classifier.predict(
        files, skipped=errors, progress=(lambda done: progress(done, len(files))) if progress else None
    )
    return Classified(
        files=tuple(file for i, file in enumerate(files) if i not in errors),
        top=tuple(map(tuple, predictions.top(top))),
        skipped=tuple(Skipped(str(files[i]), error.reason) for i, error in errors.items()),
        labels=classifier.labels,
        rule=classifier.rule,
    )
