"""Pages that need nothing but themselves: what all reports are rendered and written with."""

from __future__ import annotations

from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sightword.errors import RequestError
from sightword.files import whole_file

NBSP = "\N{NO-BREAK SPACE}"


def check_packages() -> None:
    """Raise RequestError where a package that reports need is missing: better before the work than after it."""
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise RequestError(f"the report needs {package}: pip install 'sightword[train]'")


def render(template: str, **values: Any) -> str:
    """A template beside this file, filled in."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("sightword.evaluation")
    # Names, keys and reasons come from data: all of them are escaped.
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "count": count, "score": score}
    return environment.get_template(template).render(**values)


def write_page(path: Path, page: str) -> None:
    """Whole, or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def percent(share: float) -> str:
    return f"{100 * share:.1f}{NBSP}%"


def interval(low: float, high: float) -> str:
    return f"{100 * low:.1f}–{100 * high:.1f}"


def count(number: int) -> str:
    return f"{number:,}"


def score(share: float) -> str:
    # A softmax over many names leaves scores that would all be rounded to nothing.
    return f"<{NBSP}0.1" if share < 0.0005 else f"{100 * share:.1f}"
