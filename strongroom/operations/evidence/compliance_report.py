"""What a look at frameworks found, as a signed document, a page and a table.

Each finding is of one look, at the time that the report names. A control that no program can see is never
called met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape

from msgspec import Struct

from strongroom import __version__
from strongroom.operations.evidence.compliance import (
    TEXTS,
    Assessed,
    Framework,
    Verdict,
)
from strongroom.operations.evidence.csv_table import table_of
from strongroom.operations.evidence.ledger import Head
from strongroom.operations.findings import Finding, State
from strongroom.operations.page import HOW_TO_CHECK, definitions, page, section
from strongroom.operations.signed_report import ReportKind, kind_of
from strongroom.timestamps import rfc3339
from strongroom.words import plural


class Evidence(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One finding of one check, and what it was looked at: a policy, a backup, a target."""

    check: str
    state: str
    what: str
    about: str
    to_do: str


class ReportedControl(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A control, how it stands, what that rests on, and what nobody can tell from here (``beyond``)."""

    number: str
    demands: str
    verdict: str
    evidence: tuple[Evidence, ...]
    beyond: str


class Held(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A framework, the text that its numbers are of, and its controls."""

    framework: str
    text: str
    controls: tuple[ReportedControl, ...]


class ComplianceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The report. ``last`` is the newest event of the ledger then; ``None`` if there was none."""

    strongroom: str
    made_at: str
    frameworks: tuple[Held, ...]
    last: Head | None
    page_sha256: str = ""
    csv_sha256: str = ""


REPORT = ReportKind(kind=kind_of("compliance-report", "compliance report"), record=ComplianceReport)


def report_of(
    answer: Mapping[Framework, Iterable[Assessed]], *, last: Head | None, now: float
) -> ComplianceReport:
    """Return what was found, without the digests of the files beside it."""
    held = (
        Held(framework=one.value, text=TEXTS[one], controls=tuple(map(_control, controls)))
        for one, controls in answer.items()
    )
    return ComplianceReport(strongroom=__version__, made_at=rfc3339(now), frameworks=tuple(held), last=last)


def _control(one: Assessed) -> ReportedControl:
    return ReportedControl(
        number=one.number,
        demands=one.demands,
        verdict=one.verdict.value,
        evidence=tuple(map(_evidence, one.findings)),
        beyond=one.beyond,
    )


def _evidence(finding: Finding) -> Evidence:
    return Evidence(
        check=finding.check,
        state=finding.state.value,
        what=finding.what,
        about=", ".join(filter(None, (finding.policy, finding.backup, finding.target))),
        to_do=finding.to_do,
    )


def said(report: ComplianceReport) -> Iterator[str]:
    """Yield how each framework stands, in one line."""
    yield f"Looked at {report.made_at}:"
    yield from (f"  {one.framework}: {counted(one)}" for one in report.frameworks)


def counted(held: Held) -> str:
    """Say how many controls stand how, the worst first."""
    found = Counter(one.verdict for one in held.controls)
    return "; ".join(f"{found[one.value]} {one.value}" for one in Verdict if found[one.value])


# -- the page ----------------------------------------------------------------------

_BAD = (Verdict.UNMET.value, Verdict.UNKNOWN.value)
_CLASSES = {
    Verdict.UNMET.value: "failed",
    Verdict.UNKNOWN.value: "failed",
    Verdict.REMARKED.value: "late",
    Verdict.SEEN.value: "passed",
    Verdict.MET.value: "passed",
}


def page_of(report: ComplianceReport) -> bytes:
    """Return the page."""
    title = f"Backups and frameworks, {report.made_at[:10]}"
    foot = f"{report.strongroom}, {report.made_at}"
    return page("Compliance report", title, _sections(report), foot=foot, style=_STYLE)


def _sections(report: ComplianceReport) -> Iterator[str]:
    yield _verdict(report)
    yield section("In short", definitions((one.framework, counted(one)) for one in report.frameworks))
    yield from (section(one.framework, _framework(one)) for one in report.frameworks)
    yield section("How to check this report", _check(report))


def _verdict(report: ComplianceReport) -> str:
    every = [one for held in report.frameworks for one in held.controls]
    bad = sum(one.verdict in _BAD for one in every)
    words = f"{plural(bad, 'control')} of {len(every):,} to act on" if bad else "No control is unmet"
    return (
        f'<div class="verdict {"failed" if bad else "passed"}"><strong>{"✕" if bad else "✓"} {words}</strong>'
        "<p>This is what can be seen from here: evidence for an auditor, and no certificate. What no program "
        "can see is named under each control as yours to show.</p></div>\n"
    )


def _framework(held: Held) -> str:
    controls = "".join(map(_shown, held.controls))
    return f'<p class="note">{escape(held.text)}</p>\n{controls}'


def _shown(one: ReportedControl) -> str:
    beyond = f'<p class="yours">Yours to show: {escape(one.beyond)}.</p>\n' if one.beyond else ""
    tag = f'<span class="tag {_CLASSES.get(one.verdict, "")}">{escape(one.verdict)}</span>'
    demands = escape(one.demands[:1].upper() + one.demands[1:])
    return (
        f'<article class="control"><h3>{escape(one.number)} {tag}</h3>\n<p>{demands}.</p>\n'
        f"{_list(one)}{beyond}</article>\n"
    )


def _list(one: ReportedControl) -> str:
    items = "".join(map(_item, dict.fromkeys(one.evidence)))
    return f"<ul>\n{items}</ul>\n" if items else ""


def _item(one: Evidence) -> str:
    about = f" ({one.about})" if one.about and one.about not in one.what else ""
    bad = ' class="bad"' if one.state in (State.WRONG.value, State.UNKNOWN.value) else ""
    to_do = f"<br>To do: {escape(one.to_do)}" if one.to_do else ""
    return (
        f"<li><span{bad}>{escape(one.state)}</span>, check <code>{escape(one.check)}</code>{escape(about)}: "
        f"{escape(one.what)}{to_do}</li>\n"
    )


def _check(report: ComplianceReport) -> str:
    last = ""
    if report.last is not None:
        last = (
            f"<p>The ledger then ended with event {report.last.id}, SHA-256 "
            f"<code>{escape(report.last.sha256)}</code>.</p>\n"
        )
    return HOW_TO_CHECK + last


_STYLE = """
h3{font-size:1rem;margin:1.2rem 0 .2rem}
.control p{margin:.2rem 0}
.control ul{margin:.2rem 0;padding-left:1.2rem}
.control li{margin:.15rem 0;overflow-wrap:anywhere}
.tag{font-size:.8rem;font-weight:600;padding:.1rem .5rem;border-radius:.3rem;background:var(--panel);
white-space:nowrap}
.tag.passed{background:var(--good-ground)}.tag.late{background:var(--warn-ground)}
.tag.failed{background:var(--bad-ground)}
.yours{color:var(--soft)}
@media print{.control{break-inside:avoid}section{break-inside:auto}.tag{border:1px solid #000}}
"""

# -- the table ---------------------------------------------------------------------

_HEAD = (
    *("framework", "control", "demands", "verdict"),
    *("check", "state", "about", "found", "to do", "yours to show"),
)


def csv_of(report: ComplianceReport) -> bytes:
    """Return the table: a row for each finding of each control, and one for a control that has none."""
    return table_of(_HEAD, _rows(report))


def _rows(report: ComplianceReport) -> Iterator[tuple[str, ...]]:
    for held in report.frameworks:
        for one in held.controls:
            control = (held.framework, one.number, one.demands, one.verdict)
            for each in one.evidence:
                yield (*control, each.check, each.state, each.about, each.what, each.to_do, one.beyond)
            if not one.evidence:
                yield (*control, "", "", "", "", "", one.beyond)
