"""Which files of a folder are classified."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightword.errors import RequestError
from sightword.labels.files import find_images


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("a.png", "in/b.jpg", ".c.png", ".git/d.png", "in/.thumbs/e.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [str(file.relative_to(tmp_path)) for file in find_images([tmp_path])] == ["a.png", "in/b.jpg"]
    assert find_images([tmp_path / ".c.png"]) == [tmp_path / ".c.png"]  # asked for by name


def test_a_hidden_folder_that_is_asked_for_is_looked_into(tmp_path: Path) -> None:
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "a.png").touch()
    assert len(find_images([tmp_path / ".hidden"])) == 1


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no image files in this folder"):
        find_images([tmp_path])
