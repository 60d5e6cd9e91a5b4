"""What an installation stands on: its database, local store, disks, files and clock."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from strongroom.errors import SourceError
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.sources.local import LocalStore
from strongroom.state.codec import ODD
from strongroom.state.engine import Database
from strongroom.state.errors import StateError
from strongroom.state.migrations import HEAD
from strongroom.state.store import RunStore
from strongroom.system.errors import KeyFileExposed, TargetFull, TargetReadOnly
from strongroom.words import plural

STATE, STORE, DISK, FILES, CLOCK = "state", "store", "disk", "files", "clock"
LEAST = 64 * 1024 * 1024
"""Bytes without which nothing goes on, whatever is written."""
SKEW, FAR_OFF = 2.0, 60.0
"""Seconds by which two clocks may differ, and from when on leases and slots go wrong."""


def database(found: Database, store: RunStore) -> Iterator[Finding]:
    """Read all of a SQLite file; its schema is known by now. Raises StateError."""
    store.examine()
    where = "SQLite, every page of it is sound" if found.file else "PostgreSQL, answers"
    yield good(STATE, f"{where}; schema {HEAD}")
    for words in store.unreadable():
        yield wrong(STATE, StateError(words, hint=ODD))


def local_store(store: LocalStore) -> Iterator[Finding]:
    """Open the local store and one name in it, which shows whether its master key is the right one."""
    if not store.made:
        yield _no_store(store)
        return
    next(iter(store.list()), None)
    yield good(STORE, "opens, and its master key is the right one")


def _no_store(store: LocalStore) -> Finding:
    """Tell a store that never was from one that is lost: its master key is made with it, and stays."""
    if not store.master_key_path.exists():
        return remark(STORE, "there is no local store: 'strongroom set' makes one")
    hint = "Bring it back: 'strongroom restore --from-target TARGET --full-restore'."
    return wrong(STORE, SourceError("the local store is gone, and its master key is here", hint=hint))


def clock(found: Database, *, now: float | None = None) -> Iterator[Finding]:
    """Hold this machine's clock to the database's, by which leases and slots go."""
    ours = time.time() if now is None else now
    apart = abs(found.clock() - ours)
    words = f"this machine and the database are {apart:.0f} s apart"
    hint = "Set both by NTP: slots and leases use the database's clock, backups this machine's."
    if apart > FAR_OFF:
        yield wrong(CLOCK, StateError(words, hint=hint))
    elif apart > SKEW:
        yield remark(CLOCK, words, hint)
    else:
        yield good(CLOCK, "agrees with the database's")


# -- files ---------------------------------------------------------------------


OWN, SHARED = 0o077, 0o022
"""What others may not do with a secret's file; with the folder that it lies in, which they may look into."""


def modes(state_dir: Path, secrets: Iterable[Path]) -> Iterator[Finding]:
    """Look who else may use what is this installation's own.

    Args:
        secrets: further files that hold a key, a PIN or a password.
    """
    inside = sorted(path for path in (state_dir / "keys").rglob("*.key") if path.is_file())
    owned = [*inside, *_databases(state_dir), *secrets]
    paths = [path for path in dict.fromkeys(owned) if path.exists()]
    exposed = [(path, "600") for path in paths if _mode(path) & OWN]
    exposed += [(state_dir, "700")] if state_dir.exists() and _mode(state_dir) & SHARED else []
    for path, mode in exposed:
        hint = f"Run: chmod {mode} '{path}'. If somebody may have used a key there, make a new one."
        yield wrong(FILES, KeyFileExposed(f"others on this machine may use '{path}'", hint=hint))
    if not exposed:
        yield good(FILES, f"{plural(len(paths), 'file')} of keys and state: their owner's alone")


def _databases(state_dir: Path) -> tuple[Path, Path]:
    return state_dir / "state.db", state_dir / "store" / "secrets.db"


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- disks ---------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """A directory that is written to. ``least`` bytes have to be free there, ``enough`` are better."""

    name: str
    path: Path
    least: int = LEAST
    enough: int = 0


def disks(places: Iterable[Place], *, percent: int) -> Iterator[Finding]:
    """Say where the room runs out, or nothing can be written; ``percent`` of a disk are to be free."""
    for place in places:
        yield from _disk(place, percent)


def _disk(place: Place, percent: int) -> Iterator[Finding]:
    path = next((one for one in (place.path, *place.path.parents) if one.is_dir()), Path("/"))
    usage = shutil.disk_usage(path)
    free = usage.free
    words = f"{place.name}: {_size(free)} free at {place.path}"
    if os.statvfs(path).f_flag & os.ST_RDONLY or not os.access(path, os.W_OK):
        hint = "Check how it is mounted, and its owner and mode."
        yield wrong(DISK, TargetReadOnly(f"{place.name}: nothing can be written at {place.path}", hint=hint))
    elif free < place.least:
        yield wrong(DISK, TargetFull(f"{words}; it takes {_size(place.least)}", hint="Free space there."))
    elif free < max(place.enough, usage.total * percent // 100):
        yield remark(DISK, words, "Make room before it runs out.")
    else:
        yield good(DISK, words)


def _size(number: int) -> str:
    return f"{number / 1024**3:,.1f} GiB" if number >= 1024**3 else f"{number / 1024**2:,.1f} MiB"
