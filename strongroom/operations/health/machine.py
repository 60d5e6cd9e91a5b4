"""What an installation stands on, and no facts have: its database, local store, files and clock."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from strongroom.errors import SourceError
from strongroom.operations.findings import Finding, good, remark, wrong
from strongroom.sources.local import LocalStore
from strongroom.state.codec import ODD
from strongroom.state.engine import StateDatabase
from strongroom.state.errors import StateError
from strongroom.state.migrations import HEAD
from strongroom.state.store import RunStore
from strongroom.system.errors import KeyFileExposed
from strongroom.words import plural

STATE, STORE, FILES, CLOCK = "state", "store", "files", "clock"
SKEW, FAR_OFF = 2.0, 60.0
"""Seconds by which two clocks may differ, and from when on leases and slots go wrong."""


def database(found: StateDatabase, store: RunStore) -> Iterator[Finding]:
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


def clock(found: StateDatabase, *, now: float | None = None) -> Iterator[Finding]:
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
