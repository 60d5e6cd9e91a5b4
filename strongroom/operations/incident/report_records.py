"""What stands in the report of an incident. Times are RFC 3339; one that is empty did not come yet."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.operations.archive.incidents import BackupOpener


class AffectedBackup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup that others may be able to read, and what it was sealed anew as (``now``, else empty)."""

    backup: str
    policy: str
    made: str
    opened_now: bool
    looked_at: bool
    file: str
    now: str


class ReportedStep(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a step stands. ``missing`` says why something is not done, ``left`` what a person has to do."""

    step: str
    state: str
    said: str
    by: str
    at: str
    counts: Mapping[str, int]
    missing: Mapping[str, str]
    left: tuple[str, ...]


class Word(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the incident: who said what, and when."""

    at: str
    by: str
    step: str
    state: str
    said: str


class IncidentReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The report. ``late``: it was closed after its time. ``page_sha256`` is the digest of the page beside
    it, which says the same to people."""

    strongroom: str
    incident: str
    opened_at: str
    by: str
    reason: str
    due_at: str
    closed_at: str
    closed_by: str
    closing: str
    late: bool
    since: str
    keys: tuple[str, ...]
    version: int | None
    host: str
    target: str
    secrets: int
    affected: tuple[AffectedBackup, ...]
    unread: Mapping[str, str]
    gone: tuple[str, ...]
    steps: tuple[ReportedStep, ...]
    readers: tuple[BackupOpener, ...]
    words: tuple[Word, ...]
    made_at: str
    page_sha256: str = ""
