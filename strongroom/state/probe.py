"""Whether there is a state database that may have something to say: nothing is made or loaded for a look."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from strongroom.system import files

_PATIENCE = 5.0
"""Seconds that a writer is waited for."""


def may_have_event(file: Path, kind: str) -> bool:
    """Tell whether an event of a kind is on record; also if that cannot be told so simply."""
    try:
        connection = files.connect(file, timeout=_PATIENCE)
        try:
            found = connection.execute("SELECT 1 FROM events WHERE kind = ? LIMIT 1", (kind,)).fetchone()
        finally:
            connection.close()
    except sqlite3.Error:
        return True
    return found is not None
