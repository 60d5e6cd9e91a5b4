"""Which runs are driven from a command line: a lock that the kernel drops with the process.

A process id would be given out again, and a lease says nothing between two steps. Forked children inherit the
lock, so a run is worked on until the last of them has ended.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from strongroom.state import filesystem
from strongroom.system import files

FOLDER = "driving"


class DriverStatus(NamedTuple):
    """Whether a process drives a run, and the owners of the claims of those that died of it."""

    alive: bool
    gone: frozenset[str]


@contextmanager
def driving(state_dir: Path, run: str, owner: str) -> Iterator[None]:
    """Let everybody see that this process works on a run.

    What ends in an exception leaves its file, without the lock: nobody works on the run then. A full
    disk costs the sign, never the work.
    """
    # On a network's file system another host may not see the lock, and would take the living for dead.
    local = filesystem.kind_of(state_dir) not in filesystem.NETWORK
    taken = _take(state_dir / FOLDER, run, owner) if local else None
    try:
        yield
        forget(state_dir, run, besides=taken)
        if taken is not None:
            taken[0].unlink(missing_ok=True)
    finally:
        if taken is not None:
            os.close(taken[1])


Taken = tuple[Path, int]


def _take(folder: Path, run: str, owner: str, *, tries: int = 3) -> Taken | None:
    """Make a locked file. It gets its name last: without the lock it would look like a dead process's."""
    name = f"{run}.{secrets.token_hex(8)}"
    provisional = folder / f".{name}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = files.open_locked(provisional, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    except OSError:
        return None
    try:
        os.write(descriptor, owner.encode())
        provisional.rename(folder / name)
    except OSError as error:
        provisional.unlink(missing_ok=True)
        os.close(descriptor)
        swept = isinstance(error, FileNotFoundError)  # before it was locked, for a dead process's
        return _take(folder, run, owner, tries=tries - 1) if swept and tries else None
    return folder / name, descriptor


def status(state_dir: Path, run: str) -> DriverStatus:
    """Look who drives a run. Neither alive nor gone: none from a command line of this machine."""
    owners = [_dead_owner(file) for file in _files(state_dir, run)]
    return DriverStatus(alive=None in owners, gone=frozenset(filter(None, owners)))


def sweep(state_dir: Path, has_ended: Callable[[str], bool]) -> None:
    """Remove what dead processes left, but for runs that somebody can still go on with."""
    for file in _all_files(state_dir):
        run, provisional = file.name.partition(".")[0], file.name[0] == "."
        if _dead_owner(file) is not None and (provisional or has_ended(run)):
            with suppress(OSError):  # another user's, who removes it himself
                file.unlink()


def forget(state_dir: Path, run: str, *, besides: Taken | None = None) -> None:
    """Remove what dead processes left of a run that somebody else has brought to its end."""
    for file in _files(state_dir, run):
        if (besides is None or file != besides[0]) and _dead_owner(file) is not None:
            file.unlink(missing_ok=True)


def _files(state_dir: Path, run: str) -> list[Path]:
    return [file for file in _all_files(state_dir) if file.name.partition(".")[0] == run]


def _all_files(state_dir: Path) -> list[Path]:
    try:
        return list((state_dir / FOLDER).iterdir())
    except OSError:
        return []


def _dead_owner(file: Path) -> str | None:
    """Return who held a file's lock and has died; ``None`` if they hold it, or let it go just now."""
    with suppress(OSError), file.open("rb") as opened:
        if not files.is_locked(opened.fileno(), without_locks=True):
            return opened.read().decode(errors="replace") or "(unknown)"
    return None
