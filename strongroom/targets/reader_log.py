"""Where a target's server writes down who reads there: what alone knows of a stranger with the files."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from strongroom.targets import Target
from strongroom.targets.resilient import bare


@runtime_checkable
class LogsReaders(Protocol):
    """What a target can do besides, if its server says where its log of readers is."""

    def reader_log(self) -> str:
        """Return where that log is; empty if the server keeps none.

        Raises :class:`~strongroom.errors.TargetError` if this credential may not ask.
        """
        ...


def reader_log(target: Target) -> str | None:
    """Return where the log of a target's readers is, empty if there is none; ``None``: it does not tell."""
    inner = bare(target)
    return inner.reader_log() if isinstance(inner, LogsReaders) else None
