"""The file a SQLite database lies in: private, and on a local disk."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Final

from strongroom.state.errors import StateError, StateFull
from strongroom.system import files

# SQLite's WAL keeps its index in memory that all writers share, and its locks are those
# of the file system: over a network either can be missing, and the database is damaged
# without a word (sqlite.org/wal.html, sqlite.org/howtocorrupt.html).
NETWORK: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
        *("ocfs2", "gfs2", "ncpfs", "davfs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs", "fuse.s3fs"),
        *("fuse.gcsfuse", "fuse.rclone", "fuse.juicefs"),
    }
)


def prepare(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> None:
    """Create the file with mode 0600, its folder with 0700, unless they exist; open neither.

    Raises:
        StateFull: there is no room.
        StateError: it is on a network file system, or cannot be created.
    """
    kind = kind_of(path, mounts=mounts)
    if kind in NETWORK:
        raise StateError(
            f"the state database would lie on a network file system ({kind})",
            hint="Put the state directory on a local disk, or use PostgreSQL (state.url).",
        )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.create(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StateFull(f"the state database could not be made: no room is left: {path}") from None
        raise StateError(f"the state database cannot be opened: {error.strerror}: {path}") from None


def kind_of(path: Path, *, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """Return the type of the file system that ``path`` is on, where the system tells."""
    try:
        lines = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    resolved = path.resolve()
    holding = [(where, kind) for where, kind in map(_mount, lines) if resolved.is_relative_to(where)]
    # Of two mounts at one place the later one hides the earlier.
    return (
        max(enumerate(holding), key=lambda item: (len(item[1][0].parts), item[0]))[1][1] if holding else None
    )


def _mount(line: str) -> tuple[Path, str]:
    _, where, kind, *_ = line.split(" ")
    return Path(where.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")), kind


# -- Whether there is a database that may have something to say: nothing is made or loaded for a look


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
