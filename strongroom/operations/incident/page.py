"""An incident's report as one HTML page that needs nothing else: a pure function of the report."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from strongroom.operations.incident import words
from strongroom.operations.incident.report_records import IncidentReport
from strongroom.operations.page import definitions, page, row, section, table
from strongroom.timestamps import readable
from strongroom.words import plural

SHOWN = 200
"""Backups in the table; the signed document has all."""


def page_of(report: IncidentReport) -> bytes:
    """Return the page."""
    title = f"Incident {report.incident}"
    foot = f"{report.strongroom}, {readable(report.made_at)}"
    return page("Incident report", title, _sections(report), foot=foot)


def _sections(report: IncidentReport) -> Iterator[str]:
    yield _verdict(report)
    yield section("What happened", definitions(words.happened(report)))
    yield section("What was done", _steps(report))
    if missing := _missing(report):
        yield section("What is not done, and why", missing)
    if left := _left(report):
        yield section("What people have to do", left)
    yield section("Who read the backups", _readers(report))
    if report.affected:
        yield section("The backups", _affected(report))
    yield section("Every entry", _words(report))
    yield section("How to check this report", _check(report))


def _verdict(report: IncidentReport) -> str:
    waived = words.waived(report)
    kind = "degraded" if not report.closed_at or report.late or waived else "passed"
    mark = {"passed": "✓", "degraded": "!"}[kind]
    more = f" Waived: {', '.join(words.STEPS[one.step].lower() for one in waived)}." if waived else ""
    return (
        f'<div class="verdict {kind}"><strong>{mark} {words.title(report)}</strong>'
        f"<p>{escape(words.verdict(report) + more)}</p></div>\n"
    )


def _steps(report: IncidentReport) -> str:
    rows = (
        row(
            (words.STEPS[one.step], one.state, words.took(report, one.at), one.by, words.found(one)),
            bad=words.is_unsettled(one),
        )
        for one in report.steps
    )
    return table(("Step", "State", "When", "By", "Found"), rows)


def _missing(report: IncidentReport) -> str:
    rows = [
        row((words.STEPS[one.step], what, why), bad=True)
        for one in report.steps
        for what, why in one.missing.items()
    ]
    unread = [row(("Opened", f"backup {backup}", why), bad=True) for backup, why in report.unread.items()]
    return table(("Step", "What", "Why"), [*rows, *unread]) if rows or unread else ""


def _left(report: IncidentReport) -> str:
    items = [f"<li>{escape(line)}</li>\n" for one in report.steps for line in one.left]
    return f"<ul>\n{''.join(items)}</ul>\n" if items else ""


def _readers(report: IncidentReport) -> str:
    since = f'<p class="note">Looked for since {escape(readable(report.since))}.</p>\n'
    if not report.readers:
        return since + "<p>Nobody, by the records of the hosts that were asked.</p>\n"
    rows = (
        row((one.who, one.did, words.what(one), f"{one.times:,}", _day(one.first), _day(one.last)))
        for one in report.readers
    )
    return since + table(("Who", "Did", "What", "Times", "First (UTC)", "Last (UTC)"), rows)


def _day(text: str) -> str:
    return readable(text).removesuffix(" UTC")


def _affected(report: IncidentReport) -> str:
    rows = (
        row((one.backup, one.policy, _day(one.made), one.now or one.file), bad=not one.looked_at)
        for one in report.affected[:SHOWN]
    )
    more = len(report.affected) - SHOWN
    note = f'<p class="note">And {plural(more, "backup")} more, in the document.</p>\n' if more > 0 else ""
    return table(("Backup", "Policy", "Made (UTC)", "Sealed again as"), rows) + note


def _words(report: IncidentReport) -> str:
    rows = (row((_day(one.at), words.WORDS[one.step], one.state, one.by, one.said)) for one in report.words)
    return table(("When (UTC)", "What", "State", "By", "Said"), rows)


def _check(report: IncidentReport) -> str:
    name = escape(report.incident)
    return (
        "<p>The signed document beside this page says the same, and holds the SHA-256 of the page. Both are "
        f"stored next to the backups, under <code>incidents/{name}/</code> on each target. With both in one "
        "folder, and the installation's fingerprint, which you have from somebody you trust, this needs no "
        "network:</p>\n"
        f"<pre>strongroom report check incident-{name}.json --signer sr1:…</pre>\n"
    )
