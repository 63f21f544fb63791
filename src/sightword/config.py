"""Typed configuration: every recipe, tower and contract is a `Config`, and a wrong key names its nearest neighbour."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sightword.errors import RequestError

Positive = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Config(BaseModel):
    """A frozen record that knows all of its keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


C = TypeVar("C", bound=Config)


def parse(kind: type[C], values: Mapping[str, Any], where: str, error: type[RequestError] = RequestError) -> C:
    """Check `values` against `kind`. `where` (a file, as a rule) begins every message."""
    try:
        return kind.model_validate(values)
    except ValidationError as failure:
        raise error(_first_problem(kind, failure, where)) from None


def _first_problem(kind: type[Config], failure: ValidationError, where: str) -> str:
    # An unknown key is reported before what its absence causes elsewhere ("field required").
    problems = sorted(failure.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    problem = problems[0]
    path = [str(part) for part in problem["loc"]]
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        known = _keys_at(kind, path[:-1])
        near = difflib.get_close_matches(path[-1], known, n=1, cutoff=0.0)
        hint = f"did you mean {near[0]!r}?" if near else "no key is known here"
        return f"{where}: unknown key {key!r}; {hint}"
    if problem["type"] == "missing":
        return f"{where}: the key {key!r} is missing"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {key or 'the file'}: {message} (got {problem['input']!r})"


def _keys_at(kind: Any, path: list[str]) -> list[str]:
    """The names of the fields below `path`, through nested configs, unions (by their `kind` tag) and optionals."""
    kinds = _configs_in(kind)
    for part in path:
        inner: list[type[Config]] = []
        for candidate in kinds:
            if part in candidate.model_fields:
                inner += _configs_in(candidate.model_fields[part].annotation)
        # A tagged union puts its tag into the path; keep only the member that carries it.
        tagged = [k for k in kinds if "kind" in k.model_fields and k.model_fields["kind"].default == part]
        kinds = inner or tagged or kinds
    return sorted({name for candidate in kinds for name in candidate.model_fields})


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, Config) else []
    return [found for part in typing.get_args(annotation) for found in _configs_in(part)]
