"""An incident in words, the same on a page and on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from strongroom.durations import about
from strongroom.operations.archive.incidents import BackupOpener
from strongroom.operations.incident.report_records import IncidentReport, ReportedStep
from strongroom.timestamps import readable
from strongroom.words import name_first_few, plural

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


def waived(report: IncidentReport) -> list[ReportedStep]:
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
