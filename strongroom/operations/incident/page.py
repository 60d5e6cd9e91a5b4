"""An incident's report as a sheet: a pure function of the report, whose document vouches for its page."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.archive.incidents import INCIDENT
from strongroom.operations.incident import words
from strongroom.operations.incident.report_records import IncidentReport
from strongroom.operations.signed_report import ReportKind
from strongroom.sheet import Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.timestamps import readable
from strongroom.words import plural

SHOWN = 200
"""Backups in the table; the signed document has all."""


def sheet_of(report: IncidentReport) -> Sheet:
    """Return what is on record of an incident."""
    waived = ", ".join(words.STEPS[step.step].lower() for step in words.waived(report))
    settled = report.closed_at and not report.late and not waived
    return Sheet(
        kind="Incident report",
        title=f"Incident {report.incident}",
        verdict=words.title(report),
        mood=Mood.GOOD if settled else Mood.WARN,
        about=words.verdict(report) + (f" Waived: {waived}." if waived else ""),
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, {readable(report.made_at)}",
    )


def _parts(report: IncidentReport) -> Iterator[Part]:
    yield Pairs(list(words.happened(report)), "What happened")
    steps = [
        (
            marked(words.STEPS[step.step], bad=words.is_unsettled(step)),
            step.state,
            words.took(report, step.at),
            step.by,
            words.found(step),
        )
        for step in report.steps
    ]
    yield Table(("Step", "State", "When", "By", "Found"), steps, "What was done")
    missing = [
        (marked(words.STEPS[step.step], bad=True), what, why)
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
        (reader.who, reader.did, words.what(reader), reader.times, _day(reader.first), _day(reader.last))
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
        (_day(entry.at), words.WORDS[entry.step], entry.state, entry.by, entry.said) for entry in report.words
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
