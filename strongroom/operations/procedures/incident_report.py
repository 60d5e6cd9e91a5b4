"""What came of an incident, as a signed document, in words and as a page."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct

from strongroom import __version__
from strongroom.model import Role
from strongroom.operations.archive.cases import INCIDENT, BackupOpener, Incident, steps_of
from strongroom.operations.drills.job import Stored, put_files
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence.signed_report import PAGE, ReportKind, vouch
from strongroom.operations.procedures.incident import sealed_anew
from strongroom.sheet import Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.times import about, readable
from strongroom.words import name_first_few, plural

# -- What stands in the report of an incident. Times are RFC 3339; one that is empty did not come yet


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


# -- An incident in words, the same on a page and on a terminal ---------------------------------


STEPS: Final[Mapping[str, str]] = {
    "isolate": "Isolate the backups",
    "readers": "Find who read them",
    "reseal": "Seal them under new keys",
    "rotate": "Change the secrets",
    "report": "Report",
}
WORDS: Final[Mapping[str, str]] = {"open": "Opened", "close": "Closed", **STEPS}


def happened(report: IncidentReport) -> Iterator[tuple[str, str]]:
    """Yield why it was opened, about what, and what it was closed with."""
    yield "Reason", report.reason
    yield from suspected(report)
    if report.closing:
        yield "Closed with", report.closing


def what(reader: BackupOpener) -> str:
    """Say what somebody read."""
    return name_first_few(reader.backups, most=1) or "the local store"


def suspected(report: IncidentReport) -> Iterator[tuple[str, str]]:
    """Yield what is suspected to be in wrong hands."""
    version = f", version {report.version}" if report.version is not None else ""
    yield from (("Key", f"{key}{version}") for key in report.keys)
    if report.host:
        yield "Host", report.host
    if report.target:
        yield "Target", report.target
    if report.secrets:
        yield "Secrets", f"{plural(report.secrets, 'secret')}, named in a sealed entry"
    yield "Backups", _backups(report)


def _backups(report: IncidentReport) -> str:
    open_now = sum(backup.opened_now for backup in report.affected)
    words = f"{plural(len(report.affected), 'backup')} affected"
    return f"{words}, of which {open_now:,} could be opened when it began" if report.affected else words


def verdict(report: IncidentReport) -> str:
    """Return in one or two sentences how an incident stands."""
    began = f"It was opened at {readable(report.opened_at)} by {report.by}"
    if report.closed_at:
        took = about(_seconds(report.opened_at, report.closed_at))
        late = " That was later than it should have been." if report.late else ""
        return f"{began}, and closed after {took} by {report.closed_by}.{late}"
    left = ", ".join(
        STEPS[reported_step.step].lower() for reported_step in report.steps if is_unsettled(reported_step)
    )
    return f"{began}. It should be closed by {readable(report.due_at)}. Left: {left or 'to close it'}."


def title(report: IncidentReport) -> str:
    """Return how it stands, in a word or two."""
    return "Closed" if report.closed_at else "Open"


def waived_steps(report: IncidentReport) -> list[ReportedStep]:
    """Return the steps that were left as they were, by somebody's word."""
    return [step for step in report.steps if step.state == "waived"]


def is_unsettled(step: ReportedStep) -> bool:
    """Tell whether a step is neither done nor waived."""
    return step.state in ("open", "begun", "partly")


def found(step: ReportedStep) -> str:
    """Say what came of a step."""
    counts = "; ".join(f"{what}: {count:,}" for what, count in step.counts.items())
    return "; ".join(filter(None, (step.said, counts)))


def took(report: IncidentReport, at: str) -> str:
    """Say how long after the beginning something was."""
    return f"after {about(_seconds(report.opened_at, at))}" if at else ""


def _seconds(since: str, until: str) -> float:
    return (datetime.fromisoformat(until) - datetime.fromisoformat(since)).total_seconds()


# -- An incident's report as a sheet: a pure function of the report, whose document vouches for its page


SHOWN = 200
"""Backups in the table; the signed document has all."""


def sheet_of(report: IncidentReport) -> Sheet:
    """Return what is on record of an incident."""
    waived = ", ".join(STEPS[step.step].lower() for step in waived_steps(report))
    settled = report.closed_at and not report.late and not waived
    return Sheet(
        kind="Incident report",
        title=f"Incident {report.incident}",
        verdict=title(report),
        mood=Mood.GOOD if settled else Mood.WARN,
        about=verdict(report) + (f" Waived: {waived}." if waived else ""),
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, {readable(report.made_at)}",
    )


def _parts(report: IncidentReport) -> Iterator[Part]:
    yield Pairs(list(happened(report)), "What happened")
    steps = [
        (
            marked(STEPS[step.step], bad=is_unsettled(step)),
            step.state,
            took(report, step.at),
            step.by,
            found(step),
        )
        for step in report.steps
    ]
    yield Table(("Step", "State", "When", "By", "Found"), steps, "What was done")
    missing = [
        (marked(STEPS[step.step], bad=True), what, why)
        for step in report.steps
        for what, why in step.missing.items()
    ]
    missing += [
        (marked("Opened", bad=True), f"backup {backup}", why) for backup, why in report.unread.items()
    ]
    if missing:
        yield Table(("Step", "What", "Why"), missing, "What is not done, and why")
    if left := [line for step in report.steps for line in step.left]:
        yield Lines(left, "What people have to do", style="list")
    yield Lines([f"Looked for since {readable(report.since)}."], "Who read the backups", style="note")
    readers = [
        (reader.who, reader.did, what(reader), reader.times, _day(reader.first), _day(reader.last))
        for reader in report.readers
    ]
    head = ("Who", "Did", "What", "Times", "First (UTC)", "Last (UTC)")
    yield Table(head, readers, nothing="Nobody, by the records of the hosts that were asked.")
    if report.affected:
        backups = [
            (
                marked(affected_backup.backup, bad=not affected_backup.looked_at),
                affected_backup.policy,
                _day(affected_backup.made),
                affected_backup.now or affected_backup.file,
            )
            for affected_backup in report.affected[:SHOWN]
        ]
        yield Table(("Backup", "Policy", "Made (UTC)", "Sealed again as"), backups, "The backups")
        if (more := len(report.affected) - SHOWN) > 0:
            yield Lines([f"And {plural(more, 'backup')} more, in the document."], style="note")
    entries = [
        (_day(entry.at), WORDS[entry.step], entry.state, entry.by, entry.said) for entry in report.words
    ]
    yield Table(("When (UTC)", "What", "State", "By", "Said"), entries, "Every entry")


def _day(text: str) -> str:
    return readable(text).removesuffix(" UTC")


REPORT = ReportKind(
    name="incident-report",
    words="incident report",
    record=IncidentReport,
    sheet=sheet_of,
    file_name=lambda report: f"incident-{report.incident}",
    stored=lambda report: f"{INCIDENT.prefix}{report.incident}/",
)


# -- What came of an incident, as a signed document that an auditor keeps -----------------------
#
# It is made from the incident's entries alone, so that it says the same whoever makes it and however often.
# No value is in it and no secret's name, which can be sensitive.


KEPT = timedelta(days=366)
"""For how long a report is locked where a target locks."""


class WrittenReport(Struct, frozen=True, kw_only=True):
    """A report as it was signed, its page, and what became of both on the targets."""

    report: IncidentReport
    signed: bytes
    page: bytes
    stored: Stored


def report_of(incident: Incident) -> IncidentReport:
    """Return what is on record of an incident, without the digest of its page."""
    suspicion, closing = incident.suspicion, incident.closed
    return IncidentReport(
        strongroom=__version__,
        incident=incident.id,
        opened_at=incident.opened_at,
        by=incident.by,
        reason=incident.reason,
        due_at=incident.opening.due_at,
        closed_at=closing.at if closing else "",
        closed_by=closing.by if closing else "",
        closing=closing.said if closing else "",
        late=closing is not None and _time(closing.at) > _time(incident.opening.due_at),
        since=incident.opening.since,
        keys=suspicion.keys,
        version=suspicion.version,
        host=suspicion.host,
        target=suspicion.target,
        secrets=suspicion.secrets,
        affected=tuple(_affected(incident)),
        unread=dict(incident.opening.unread),
        gone=incident.opening.gone,
        steps=tuple(_steps(incident)),
        readers=incident.readers,
        words=tuple(
            Word(at=entry.at, by=entry.by, step=entry.step.value, state=entry.state, said=entry.said)
            for entry in incident.entries
        ),
        made_at=incident.entries[-1].at,
    )


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at)


def _affected(incident: Incident) -> Iterator[AffectedBackup]:
    sealed = sealed_anew(incident)
    for affected_backup in incident.affected:
        yield AffectedBackup(
            backup=affected_backup.backup,
            policy=affected_backup.policy,
            made=affected_backup.created_at,
            opened_now=affected_backup.opens_now,
            looked_at=affected_backup.looked_at,
            file=affected_backup.file,
            now=sealed.get(affected_backup.backup, ""),
        )


def _steps(incident: Incident) -> Iterator[ReportedStep]:
    for standing in steps_of(incident):
        yield ReportedStep(
            step=standing.step.value,
            state=standing.state,
            said=standing.said,
            by=standing.by,
            at=standing.at,
            counts=dict(standing.outcome.counts),
            missing=dict(standing.outcome.missing),
            left=standing.outcome.left,
        )


# -- the document ----------------------------------------------------------------


def write_report(services: Services, incident: Incident) -> WrittenReport:
    """Sign a report and put it with its page on every target, the page first. Both may be there already."""
    report = report_of(incident)
    beside = REPORT.files(report)
    report = vouch(report, beside)
    signed = REPORT.sign(report, services.signers(Role.CONTROL))
    stem = f"{INCIDENT.prefix}{incident.id}/report-{hashlib.sha256(signed).hexdigest()[:16]}"
    files = {f"{stem}.html": beside[PAGE], f"{stem}.json": signed}
    stored = put_files(list(services.targets), files, services, keep=KEPT)
    return WrittenReport(report=report, signed=signed, page=beside[PAGE], stored=stored)
