"""Whether a backup is in quarantine, by its mark on the targets and by a record, if there is one."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from strongroom.container.marks import QuarantineMark


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
