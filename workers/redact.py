"""What may be told of an exception outside this host: in logs, Sentry, Celery's events and Flower.

A library's message may quote the data it choked on, and our own may name a secret. So both stay in the
record, which 'strongroom runs' reads. What is told is the class of an error.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

from strongroom.errors import ConfigError, InstallationError

HIDDEN: Final = "(its message may quote data or a name, and stays in the record)"


class TaskCrashed(Exception):
    """An unexpected error in a task, by its class alone: what Celery, Flower, a result
    backend and Sentry are shown in its place."""

    @classmethod
    def of(cls, error: BaseException) -> TaskCrashed:
        """Return the stand-in, with the places of the original."""
        crashed = cls(f"{type(error).__name__} (its message stays out of logs)")
        return crashed.with_traceback(error.__traceback__)


class TaskFailed(Exception):
    """An expected error in a task, by its class alone: what Celery and Flower are shown in its place."""


TOLD: Final = (ConfigError, InstallationError, TaskCrashed, TaskFailed, ImportError)
"""Errors whose message is told: of the configuration, the state database, the broker and the channels, none
of which knows a secret. What cannot be imported is named: a module, and no data."""


def message_of(error: BaseException) -> str:
    """Return an exception's message if it may be told, or a stand-in."""
    return str(error) if isinstance(error, TOLD) else HIDDEN


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
