"""Structured logging: one JSON object a line, a static event name plus key fields."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, Final

from strongroom.errors import ConfigError, InstallationError

_bound: ContextVar[MappingProxyType[str, Any]] = ContextVar("bound", default=MappingProxyType({}))
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "data"}


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add fields to every line logged inside the block, in this thread."""
    token = _bound.set(MappingProxyType({**_bound.get(), **fields}))
    try:
        yield
    finally:
        _bound.reset(token)


class JsonLines(logging.Formatter):
    """Formats a record as JSON; of exceptions it shows class and place, not foreign text."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
            **_bound.get(),
            **{name: value for name, value in record.__dict__.items() if name not in _STANDARD},
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = chain_of(record.exc_info[1])
            line["where"] = places_of(record.exc_info[2])
        return json.dumps(line, default=_name_of)


def _name_of(value: object) -> str:
    """An object in a log field gives its class only: its ``repr`` is not ours to trust."""
    return f"<{type(value).__name__}>"


def set_up(process: str) -> None:
    """Send the root logger's lines to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    for name, own in QUIETER.items():
        logging.getLogger(name).setLevel(own)


QUIETER: Final = {
    "celery.app.trace": logging.CRITICAL,  # the base task says the same, with its identifiers
    "celery.beat": logging.WARNING,
    "celery.worker.strategy": logging.WARNING,
    "celery.redirected": logging.WARNING,
    "kombu": logging.WARNING,
    "sqlalchemy": logging.WARNING,
    "alembic": logging.WARNING,
    "urllib3": logging.WARNING,
    "azure": logging.WARNING,  # the headers of each request
    "boto3": logging.WARNING,
    "botocore": logging.WARNING,  # where each client's credentials come from
    "s3transfer": logging.WARNING,
    "tornado.general": logging.ERROR,  # quotes a request that it cannot read
}


# -- What may be told of an exception outside this host --
#
# A library's message may quote the data it choked on, and our own may name a secret. So both stay in the
# record, which 'strongroom runs' reads. What is told is the class of an error.


HIDDEN: Final = "(its message may quote data or a name; 'strongroom runs show' has what may be told)"


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
