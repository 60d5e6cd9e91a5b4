"""Who opened what from a command line, on its way into the record of events.

A command that reads values leaves a line in a file of the state directory before it reads them. That needs
no database, so a recovery neither waits for one nor fails with it. Whoever has the database at hand takes
the lines over (:func:`take`); if a process dies in between, one may be taken over twice: its ``id`` tells.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from strongroom.errors import StateError

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

FILE = "accesses.jsonl"
OPENED = "access.opened"
RESTORED = "access.restored"
SHOWN = "access.shown"
UNREADABLE = "access.unreadable"

_KIND = re.compile(r"access\.[a-z]{1,20}")
_FLAGS = os.O_APPEND | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


class Access(Struct, frozen=True, kw_only=True):
    """One line. ``at`` is in seconds since the epoch; ``detail`` has no secret and no secret's name."""

    id: str
    at: float
    kind: str
    detail: dict[str, Any]


def note(state_dir: Path, kind: str, **detail: str | int | None) -> None:
    """Append a line, durably. Raises OSError."""
    access = Access(id=token_hex(8), at=time.time(), kind=kind, detail=detail)
    with _held(state_dir, os.O_CREAT) as descriptor:
        begun = _cut_off(descriptor)  # by a process that died as it wrote
        os.write(descriptor, b"\n" * begun + msgspec.json.encode(access) + b"\n")
        os.fsync(descriptor)


def take(state_dir: Path, store: RunStore) -> int:
    """Put what was noted into the record of events; return how many lines that were.

    A line that cannot be read is told as one: somebody wrote into the file.

    Raises:
        StateError: the file cannot be read, or the record took none; the lines stay.
    """
    try:
        with _held(state_dir) as descriptor:
            lines = os.pread(descriptor, os.fstat(descriptor).st_size, 0).splitlines()
            if lines:
                store.append([_event(line) for line in lines])
                os.ftruncate(descriptor, 0)
            return len(lines)
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise StateError(
            f"'{state_dir / FILE}' cannot be taken into the record of events: {error.strerror}",
            hint="Who opened what since then stands in that file. Look at its owner and mode, then repeat.",
        ) from None


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    try:
        access = msgspec.json.decode(line, type=Access)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return UNREADABLE, {"bytes": len(line)}
    if not _KIND.fullmatch(access.kind):
        return UNREADABLE, {"bytes": len(line)}
    return access.kind, {"id": access.id, "noted": access.at, **access.detail}


def _cut_off(descriptor: int) -> bool:
    end = os.fstat(descriptor).st_size
    return end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"


@contextmanager
def _held(state_dir: Path, create: int = 0) -> Iterator[int]:
    """Open the file and hold its lock."""
    descriptor = os.open(state_dir / FILE, _FLAGS | create, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)
