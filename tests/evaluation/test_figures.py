"""A report's figures replace those of the one before it, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from sightword.errors import RequestError
from sightword.evaluation.charts import Chart
from sightword.evaluation.figures import replace_figures

CHART = Chart(lambda axes: axes.plot([1, 2]), (2, 1.5), "a line", "", "")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_old_figures_go_and_files_of_others_stay(tmp_path: Path):
    folder = tmp_path / "report-figures"
    replace_figures(folder, {"old": CHART, "same": CHART})
    assert names(folder) == ["old.png", "old.svg", "same.png", "same.svg"]
    (folder / "notes.txt").write_text("mine")
    (folder / "mine.svg").write_text("<svg/>")
    (folder / "more").mkdir()
    (folder / "more" / "old.png").write_bytes((folder / "old.png").read_bytes())
    replace_figures(folder, {"new": CHART, "same": CHART})
    kept = ["mine.svg", "more", "more/old.png", "notes.txt"]
    assert names(folder) == sorted([*kept, "new.png", "new.svg", "same.png", "same.svg"])
    assert (folder / "notes.txt").read_text() == "mine"
    replace_figures(folder, {})
    assert names(folder) == kept
    replace_figures(folder, {})
    assert names(folder) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["report-figures"], "nothing half-written is left"


def test_a_folder_of_old_figures_alone_goes_with_them(tmp_path: Path):
    replace_figures(tmp_path / "figures", {"old": CHART})
    replace_figures(tmp_path / "figures", {})
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_not_overwritten(tmp_path: Path):
    replace_figures(tmp_path, {"old": CHART})
    (tmp_path / "line.png").write_bytes(b"of somebody else")
    before = names(tmp_path)
    with pytest.raises(RequestError, match=r"line\.png: a figure .* move it away, or name another page"):
        replace_figures(tmp_path, {"line": CHART})
    assert names(tmp_path) == before
    assert (tmp_path / "line.png").read_bytes() == b"of somebody else"


def test_what_fails_leaves_the_old_figures(tmp_path: Path):
    def fail(axes: object) -> None:
        raise ZeroDivisionError

    replace_figures(tmp_path / "figures", {"old": CHART})
    with pytest.raises(ZeroDivisionError):
        replace_figures(tmp_path / "figures", {"a": CHART, "b": Chart(fail, (1, 1), "", "", "")})
    assert names(tmp_path) == ["figures", "figures/old.png", "figures/old.svg"]
