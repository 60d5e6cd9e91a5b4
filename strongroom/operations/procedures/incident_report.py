"""What came of an incident, as a signed document that an auditor keeps.

It is made from the incident's entries alone, so that it says the same whoever makes it and however often. No
value is in it and no secret's name, which can be sensitive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from strongroom import __version__
from strongroom.operations.archive.incidents import INCIDENT, Incident, steps_of
from strongroom.operations.drills.archive import Stored, put_files
from strongroom.operations.incident.page import REPORT
from strongroom.operations.incident.report_records import (
    AffectedBackup,
    IncidentReport,
    ReportedStep,
    Word,
)
from strongroom.operations.incident.reseal import sealed_anew
from strongroom.operations.services import Services
from strongroom.operations.signed_report import PAGE, vouch

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
    signed = REPORT.sign(report, services.signers("control"))
    stem = f"{INCIDENT.prefix}{incident.id}/report-{hashlib.sha256(signed).hexdigest()[:16]}"
    files = {f"{stem}.html": beside[PAGE], f"{stem}.json": signed}
    stored = put_files(list(services.targets), files, services, keep=KEPT)
    return WrittenReport(report=report, signed=signed, page=beside[PAGE], stored=stored)
