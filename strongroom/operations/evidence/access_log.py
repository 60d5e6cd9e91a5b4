"""Who opened what from a command line, on its way into the record of events.

A command that reads values leaves a line in a file of the state directory before it reads them. That needs
no database, so a recovery neither waits for one nor fails with it. Whoever has the database at hand takes
the lines over (:func:`take`); if a process dies in between, one may be taken over twice: its ``id`` tells.
"""

from __future__ import annotations

import errno
import os
import pwd
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from strongroom.state.errors import StateError
from strongroom.system import files

if TYPE_CHECKING:
    from strongroom.state.store import RunStore

FILE = "accesses.jsonl"
APART = "accesses.taken.jsonl"
"""Lines that are on their way into the database."""
LONGEST = 64 * 1024
"""Bytes of a line; one has some 300."""
ATTEMPTED = "access.attempted"
"""Noted before a backup is opened. That it was, or could not be, follows in a line of its own."""
READING = "access.reading"
"""Noted before a replica is read without being opened: a server's log has it, and it was no stranger."""
READ = "access.read"
OPENED = "access.opened"
FAILED = "access.failed"
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


def record_access(state_dir: Path, kind: str, **detail: str | int | None) -> None:
    """Append a line, durably. Raises OSError."""
    access = Access(id=token_hex(8), at=time.time(), kind=kind, detail=detail)
    with _held(state_dir / FILE, os.O_CREAT) as descriptor:
        _append(descriptor, msgspec.json.encode(access) + b"\n")


def by_whom(command: str) -> dict[str, str]:
    """Return who runs this, and behind sudo who typed it: whom the system knows, not what is claimed."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    typed = os.environ.get("SUDO_USER", "")
    by = f"{name} (sudo by {typed[:64]})" if typed.isprintable() and typed else name
    return {"command": command, "by": by, "host": os.uname().nodename}


def take(state_dir: Path, store: RunStore) -> int:
    """Put what was noted into the record of events; return how many lines that were.

    A line that cannot be read is told as one: somebody wrote into the file. The lines are set apart first, so
    that no command waits for a database.

    Raises:
        StateError: a file cannot be read or written, or the record took none; the lines stay.
    """
    noted, apart = state_dir / FILE, state_dir / APART
    try:
        if not any(map(os.path.lexists, (noted, apart))):
            return 0
        with _held(apart, os.O_CREAT) as descriptor:
            _set_apart(noted, descriptor)
            lines = _all_of(descriptor).splitlines()
            if lines:
                store.append([_event(line) for line in lines])
                os.ftruncate(descriptor, 0)
            return len(lines)
    except OSError as error:
        raise StateError(
            f"'{noted}' cannot be taken into the record of events: {error.strerror}",
            hint=f"Who opened what since then stands there, or in {APART} beside it. Look at owner and mode "
            "of both, then repeat.",
        ) from None


def _set_apart(noted: Path, apart: int) -> None:
    """Move lines. If the process dies in between, they are in both: their ids tell."""
    with suppress(FileNotFoundError), _held(noted) as descriptor:
        if lines := _all_of(descriptor):
            _append(apart, lines)
            os.ftruncate(descriptor, 0)


def _event(line: bytes) -> tuple[str, dict[str, Any]]:
    unreadable = UNREADABLE, {"bytes": len(line)}
    if len(line) > LONGEST:
        return unreadable
    try:
        access = msgspec.json.decode(line, type=Access)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return unreadable
    if not _KIND.fullmatch(access.kind):
        return unreadable
    return access.kind, {**access.detail, "id": access.id, "noted": access.at}


def _all_of(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _append(descriptor: int, lines: bytes) -> None:
    """Append whole lines, on a line of their own: a process may have died as it wrote the last one."""
    end = os.fstat(descriptor).st_size
    begun = end > 0 and os.pread(descriptor, 1, end - 1) != b"\n"
    content = b"\n" * begun + lines
    if os.write(descriptor, content) != len(content):
        os.ftruncate(descriptor, end)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(descriptor)


@contextmanager
def _held(path: Path, create: int = 0) -> Iterator[int]:
    """Open a file and hold its lock."""
    with files.locked(path, _FLAGS | create) as descriptor:
        _hand_over(descriptor, path)
        yield descriptor


def _hand_over(descriptor: int, path: Path) -> None:
    """Give what root has just made to the installation's user, whose workers take it."""
    made, owner = os.fstat(descriptor), path.parent.stat()
    if os.geteuid() == 0 == made.st_size and made.st_nlink == 1 and stat.S_ISREG(made.st_mode):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
