"""Whether a backup is in quarantine, by its mark on the targets and by a record, if there is one."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from strongroom.container.marks import QuarantineMark
from strongroom.operations.errors import BackupQuarantined

QUARANTINED, RELEASED = "backup.quarantined", "backup.released"
"""The events that put a backup on record here as set aside, and that let it be used again."""


class Recorded(NamedTuple):
    """Why a backup is in quarantine by a record, and since when, in seconds since the epoch."""

    why: str
    at: float


def why_aside(mark: QuarantineMark | None, recorded: Recorded | None) -> str:
    """Say why a backup is in quarantine, by the mark that counts and by a record; nothing if it is not.

    A mark that releases lifts a record's quarantine only if it is younger: the mark of a later quarantine
    may not have reached any target.
    """
    if mark is not None and mark.state == "quarantined":
        by = f" by {mark.by}" if mark.by else ""
        incident = f", incident {mark.incident}" if mark.incident else ""
        return f"since {mark.at}{by}{incident}: {mark.reason}"
    if recorded is None or (mark is not None and datetime.fromisoformat(mark.at).timestamp() >= recorded.at):
        return ""
    return recorded.why


def in_quarantine(backup: str, why: str) -> BackupQuarantined:
    """Return what is said of a backup that was named and is in quarantine."""
    return BackupQuarantined(
        f"Backup {backup} is in quarantine {why}.",
        hint="Take another backup, such as the one that replaced it. If this one is really meant, add: "
        "--use-quarantined. It goes on record.",
    )
