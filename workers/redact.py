"""What may be told of an exception. Our own messages are free of secrets; a library's may
quote the data it choked on."""

from __future__ import annotations

import traceback
from types import TracebackType

from strongroom.errors import StrongroomError

HIDDEN = "(message hidden: it may quote data)"


def message_of(error: BaseException) -> str:
    """Return an exception's message, or a stand-in for one that is not ours.

    What cannot be imported is named: a module, and no data.
    """
    return str(error) if isinstance(error, StrongroomError | TaskCrashed | ImportError) else HIDDEN


def chain_of(error: BaseException) -> list[str]:
    """Return the error and its causes, newest first, as ``Type: message``."""
    told: list[str] = []
    current: BaseException | None = error
    while current is not None and len(told) < 10:
        told.append(f"{type(current).__name__}: {message_of(current)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def places_of(trace: TracebackType | None) -> list[str]:
    """Return where it happened, ``file:line function``, without source lines or values."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]


class TaskCrashed(Exception):
    """An unexpected error in a task, by its class alone: what Celery, Flower, a result
    backend and Sentry are shown in its place."""

    @classmethod
    def of(cls, error: BaseException) -> TaskCrashed:
        """Return the stand-in, with the places of the original."""
        crashed = cls(f"{type(error).__name__} (its message stays out of logs)")
        return crashed.with_traceback(error.__traceback__)
