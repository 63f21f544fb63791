"""Errors a person can act on: what was wrong, where, and what to do."""

from __future__ import annotations


class SightwordError(Exception):
    """The work failed. The command ends with exit code 1."""

    exit_code = 1


class RequestError(SightwordError):
    """The request was wrong: an input, a name or a setting. The command ends with exit code 2."""

    exit_code = 2


class FullDiskError(SightwordError):
    """A file could not be written because the disk, or what one may use of it, is full."""


class StoppedError(SightwordError):
    """The system asked for an end (SIGTERM), and what was done is saved. The command ends with exit code 75, which
    sysexits.h calls a temporary failure: the same command goes on."""

    exit_code = 75


class ImageError(RequestError):
    """An image could not be read. `source` names it, `reason` says why."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason


class CheckpointError(RequestError):
    """A checkpoint folder cannot be used as it is."""


class SightwordWarning(UserWarning):
    """Something was left out or done differently, and the result still stands."""
