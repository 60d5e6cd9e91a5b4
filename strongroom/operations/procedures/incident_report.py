"""What came of an incident: as a signed document, in words, and how it stands meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from msgspec import Struct, structs

from strongroom import __version__
from strongroom.model import Role
from strongroom.operations.archive.cases import (
    INCIDENT,
    SETTLED,
    BackupOpener,
    Incident,
    next_command,
    steps_of,
)
from strongroom.operations.drills.job import Stored, put_files
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence.signed_report import PAGE, ReportKind, vouch
from strongroom.operations.procedures.account import ProcedureAccount, StepAccount
from strongroom.operations.procedures.incident import sealed_anew
from strongroom.sheet import Lines, Mood, Part, Table, marked
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


class StepWord(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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
    words: tuple[StepWord, ...]
    made_at: str
    page_sha256: str = ""


class IncidentStatus(IncidentReport, frozen=True, kw_only=True):
    """An incident as it stands now: its report, whether it is late, and the command that goes on."""

    overdue: bool
    next: str


# -- An incident in words: a pure function of its report, whose document vouches for its page ----


STEPS: Final[Mapping[str, str]] = {
    "isolate": "Isolate the backups",
    "readers": "Find who read them",
    "reseal": "Seal them under new keys",
    "rotate": "Change the secrets",
    "report": "Report",
}
_ENTRIES: Final[Mapping[str, str]] = {"open": "Opened", "close": "Closed", **STEPS}
_SHOWN = 200
"""Backups in the table; the signed document has all."""


def account_of(report: IncidentReport) -> ProcedureAccount:
    """Return what is on record of an incident, in words."""
    waived = ", ".join(STEPS[step.step].lower() for step in report.steps if step.state == "waived")
    late = isinstance(report, IncidentStatus) and report.overdue
    settled = report.closed_at and not report.late and not waived
    opened = StepAccount(
        name="Open it",
        state="done" if not report.unread else "partly",
        settled=not report.unread,
        by=report.by,
        at=report.opened_at,
        found=(_backups(report),),
        missing={f"backup {backup}": why for backup, why in report.unread.items()},
    )
    return ProcedureAccount(
        kind="Incident",
        case=report.incident,
        verdict="Closed" if report.closed_at else "Open, and OVERDUE" if late else "Open",
        mood=Mood.GOOD if settled else Mood.BAD if late else Mood.WARN,
        about=_how_it_stands(report) + (f" Waived: {waived}." if waived else ""),
        happened=list(_happened(report)),
        steps=[opened, *map(_step_account, report.steps)],
        left=[line for step in report.steps for line in step.left],
        next=report.next if isinstance(report, IncidentStatus) else "",
        main=list(readers(report.readers, since=report.since)),
        details=list(_details(report)),
    )


def _step_account(step: ReportedStep) -> StepAccount:
    counts = [f"{what}: {count:,}" for what, count in step.counts.items()]
    return StepAccount(
        name=STEPS[step.step],
        state=step.state,
        settled=step.state in SETTLED,
        by=step.by,
        at=step.at,
        found=[*filter(None, [step.said]), *counts],
        missing=step.missing,
    )


def _how_it_stands(report: IncidentReport) -> str:
    began = f"It was opened at {readable(report.opened_at)} by {report.by}"
    if report.closed_at:
        took = about((_time(report.closed_at) - _time(report.opened_at)).total_seconds())
        late = " That was later than it should have been." if report.late else ""
        return f"{began}, and closed after {took} by {report.closed_by}.{late}"
    left = ", ".join(STEPS[step.step].lower() for step in report.steps if step.state not in SETTLED)
    return f"{began}. It should be closed by {readable(report.due_at)}. Left: {left or 'to close it'}."


def _happened(report: IncidentReport) -> Iterator[tuple[str, str]]:
    """Yield why it was opened, what is suspected to be in wrong hands, and what it was closed with."""
    yield "Reason", report.reason
    version = f", version {report.version}" if report.version is not None else ""
    yield from (("Key", f"{key}{version}") for key in report.keys)
    yield "Host", report.host
    yield "Target", report.target
    if report.secrets:
        yield "Secrets", f"{plural(report.secrets, 'secret')}, named in a sealed entry"
    yield from (("Gone", f"the file of backup {backup}, as somebody said") for backup in report.gone)
    yield "Closed with", report.closing


def _backups(report: IncidentReport) -> str:
    open_now = sum(backup.opened_now for backup in report.affected)
    words = f"{plural(len(report.affected), 'backup')} affected"
    return f"{words}, of which {open_now:,} could be opened when it began" if report.affected else words


def readers(openers: Sequence[BackupOpener], *, since: str = "") -> Iterator[Part]:
    """Yield who opened what, the latest first."""
    rows = [
        (
            opener.who,
            opener.did,
            opener.times,
            _day(opener.first),
            _day(opener.last),
            name_first_few(opener.backups, most=1) or "the local store",
        )
        for opener in openers
    ]
    head = ("Who", "Did", "Times", "First (UTC)", "Last (UTC)", "What")
    nothing = "Nobody, by the records of the hosts that were asked."
    yield Table(head, rows, "Who read the backups", nothing=nothing)
    if since:
        yield Lines([f"Looked for since {readable(since)}."], style="note")


def _details(report: IncidentReport) -> Iterator[Part]:
    if report.affected:
        backups = [
            (
                marked(backup.backup, bad=not backup.looked_at),
                backup.policy,
                _day(backup.made),
                backup.now or backup.file,
            )
            for backup in report.affected[:_SHOWN]
        ]
        yield Table(("Backup", "Policy", "Made (UTC)", "Sealed again as"), backups, "The backups")
        if (more := len(report.affected) - _SHOWN) > 0:
            yield Lines([f"And {plural(more, 'backup')} more, in the document."], style="note")
    entries = [
        (_day(entry.at), _ENTRIES[entry.step], entry.state, entry.by, entry.said) for entry in report.words
    ]
    yield Table(("When (UTC)", "What", "State", "By", "Said"), entries, "Every entry")


def _day(text: str) -> str:
    return readable(text).removesuffix(" UTC")


REPORT = ReportKind(
    name="incident-report",
    words="incident report",
    record=IncidentReport,
    sheet=lambda report: account_of(report).report(foot=f"{report.strongroom}, {readable(report.made_at)}"),
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
    suspicion, closing, sealed = incident.suspicion, incident.closed, sealed_anew(incident)
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
        affected=tuple(
            AffectedBackup(
                backup=affected.backup,
                policy=affected.policy,
                made=affected.created_at,
                opened_now=affected.opens_now,
                looked_at=affected.looked_at,
                file=affected.file,
                now=sealed.get(affected.backup, ""),
            )
            for affected in incident.affected
        ),
        unread=dict(incident.opening.unread),
        gone=incident.opening.gone,
        steps=tuple(
            ReportedStep(
                step=standing.step.value,
                state=standing.state,
                said=standing.said,
                by=standing.by,
                at=standing.at,
                counts=dict(standing.outcome.counts),
                missing=dict(standing.outcome.missing),
                left=standing.outcome.left,
            )
            for standing in steps_of(incident)
        ),
        readers=incident.readers,
        words=tuple(
            StepWord(at=entry.at, by=entry.by, step=entry.step.value, state=entry.state, said=entry.said)
            for entry in incident.entries
        ),
        made_at=incident.entries[-1].at,
    )


def status_of(incident: Incident, *, now: float) -> IncidentStatus:
    """Return how an incident stands."""
    report = structs.asdict(report_of(incident))
    return IncidentStatus(**report, overdue=incident.is_overdue(now), next=next_command(incident))


def _time(at: str) -> datetime:
    return datetime.fromisoformat(at)


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
