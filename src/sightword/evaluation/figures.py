"""The folder of a report's figures: each report replaces the figures of the one before it whole, and touches nothing
else that lies there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from sightword.errors import RequestError, SightwordError
from sightword.evaluation.charts import KINDS, MARK, Chart
from sightword.files import whole_folder

_HEAD = 4096  # bytes of a file, in which its mark stands


def replace_figures(folder: Path, charts: Mapping[str, Chart]) -> None:
    """charts: by the name of their files. What an older report left goes; files that no report wrote stay. Raises
    RequestError where one of them is in the way of a figure; nothing has then changed."""
    there = sorted(folder.iterdir()) if folder.is_dir() else []
    others = [path for path in there if not _is_figure(path)]
    wanted = {f"{name}.{kind}" for name in charts for kind in KINDS}
    in_the_way = [path for path in others if path.name in wanted]
    if in_the_way:
        raise RequestError(
            f"{in_the_way[0]}: a figure of the report is to be called so, and this file is none that a report wrote: "
            "move it away, or name another page"
        )
    if not charts and len(others) == len(there):
        return
    if not charts and not others:
        shutil.rmtree(folder)
        return
    with whole_folder(folder) as temporary:
        for path in others:
            _copy(path, temporary / path.name)
        for name, chart in charts.items():
            chart.save(temporary, name)


def _is_figure(path: Path) -> bool:
    if path.is_symlink() or not path.is_file() or path.suffix.lstrip(".") not in KINDS:
        return False
    try:
        with path.open("rb") as file:
            return MARK.encode() in file.read(_HEAD)
    except OSError as failure:
        raise SightwordError(f"{path}: could not be read ({failure.strerror}), and may be an old figure") from None


def _copy(path: Path, to: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, to, symlinks=True)
    else:
        shutil.copy2(path, to, follow_symlinks=False)
