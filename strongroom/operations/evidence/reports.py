"""What a look at frameworks found, as a signed document, a page and a table.

Each finding is of one look, at the time that the report names. A control that no program can see is never
called met.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from strongroom import __version__
from strongroom.operations.evidence.compliance import TEXTS, Assessed, ControlState, Framework
from strongroom.operations.evidence.ledger import LedgerPosition
from strongroom.operations.findings import Finding, FindingState
from strongroom.operations.signed_report import LedgerEvent, ReportKind
from strongroom.sheet import Cell, Content, Lines, Mood, Pairs, Part, Sheet, Table, marked
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


class FrameworkControls(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A framework, the text that its numbers are of, and its controls."""

    framework: str
    text: str
    controls: tuple[ReportedControl, ...]


class ComplianceReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The report. ``last`` is the newest event of the ledger then; ``None`` if there was none."""

    strongroom: str
    made_at: str
    frameworks: tuple[FrameworkControls, ...]
    last: LedgerPosition | None
    page_sha256: str = ""
    csv_sha256: str = ""


def report_of(
    answer: Mapping[Framework, Iterable[Assessed]], *, last: LedgerPosition | None, now: float
) -> ComplianceReport:
    """Return what was found, without the digests of the files beside it."""
    held = (
        FrameworkControls(
            framework=framework.value, text=TEXTS[framework], controls=tuple(map(_control, controls))
        )
        for framework, controls in answer.items()
    )
    return ComplianceReport(strongroom=__version__, made_at=rfc3339(now), frameworks=tuple(held), last=last)


def _control(control: Assessed) -> ReportedControl:
    return ReportedControl(
        number=control.number,
        demands=control.demands,
        verdict=control.verdict.value,
        evidence=tuple(map(_evidence, control.findings)),
        beyond=control.beyond,
    )


def _evidence(finding: Finding) -> Evidence:
    return Evidence(
        check=finding.check,
        state=finding.state.value,
        what=finding.what,
        about=", ".join(filter(None, (finding.policy, finding.backup, finding.target))),
        to_do=finding.to_do,
    )


# -- the sheet ---------------------------------------------------------------------

_BAD = (ControlState.UNMET.value, ControlState.UNKNOWN.value)
_MOODS = {
    ControlState.UNMET.value: Mood.BAD,
    ControlState.UNKNOWN.value: Mood.BAD,
    ControlState.REMARKED.value: Mood.WARN,
    ControlState.SEEN.value: Mood.GOOD,
    ControlState.MET.value: Mood.GOOD,
}
_HEAD = (
    *("framework", "control", "demands", "verdict"),
    *("check", "state", "about", "found", "to do", "yours to show"),
)


def sheet_of(report: ComplianceReport, *, brief: bool = False) -> Sheet:
    """Return how each control stands, with a row of data for each finding, and for a control that has none.

    Args:
        brief: findings that are good are left out; the data has all.
    """
    every = [control for framework in report.frameworks for control in framework.controls]
    bad = sum(control.verdict in _BAD for control in every)
    counts = [(framework.framework, _counted(framework.controls)) for framework in report.frameworks]
    return Sheet(
        kind="Compliance report",
        title=f"Backups and frameworks, {report.made_at[:10]}",
        verdict=f"{plural(bad, 'control')} of {len(every):,} to act on" if bad else "No control is unmet",
        mood=Mood.BAD if bad else Mood.GOOD,
        about="This is what can be seen from here: evidence for an auditor, and no certificate. What no "
        "program can see is named under each control as yours to show.",
        parts=[
            Pairs(counts, "In short"),
            *(part for framework in report.frameworks for part in _framework(framework, brief=brief)),
        ],
        foot=f"{report.strongroom}, {report.made_at}",
        data=Table(_HEAD, list(_rows(report))),
    )


def _counted(controls: Iterable[ReportedControl]) -> str:
    """Say how many controls stand how, the worst first."""
    found = Counter(control.verdict for control in controls)
    return "; ".join(
        f"{found[verdict.value]} {verdict.value}" for verdict in ControlState if found[verdict.value]
    )


def _framework(held: FrameworkControls, *, brief: bool) -> Iterator[Part]:
    yield Lines([held.text], held.framework, style="note")
    for control in held.controls:
        verdict = Cell(control.verdict, _MOODS.get(control.verdict, Mood.PLAIN))
        demands = f"{control.demands[:1].upper()}{control.demands[1:]}."
        yield Lines([demands], (f"{control.number} ", verdict), sub=True)
        shown = dict.fromkeys(
            evidence for evidence in control.evidence if not brief or evidence.state != FindingState.GOOD
        )
        if shown:
            yield Lines([_evidence_line(evidence) for evidence in shown], style="list")
        if control.beyond:
            yield Lines([f"Yours to show: {control.beyond}."], style="note")


def _evidence_line(evidence: Evidence) -> Content:
    about = f" ({evidence.about})" if evidence.about and evidence.about not in evidence.what else ""
    state = marked(evidence.state, bad=evidence.state in (FindingState.WRONG, FindingState.UNKNOWN))
    to_do = f" To do: {evidence.to_do}" if evidence.to_do else ""
    return (
        state,
        ", check ",
        Cell(evidence.check, code=True),
        f"{about}: {evidence.what.rstrip('.')}.{to_do}",
    )


def _rows(report: ComplianceReport) -> Iterator[tuple[str, ...]]:
    for held in report.frameworks:
        for reported_control in held.controls:
            control = (
                held.framework,
                reported_control.number,
                reported_control.demands,
                reported_control.verdict,
            )
            for each in reported_control.evidence:
                yield (
                    *control,
                    each.check,
                    each.state,
                    each.about,
                    each.what,
                    each.to_do,
                    reported_control.beyond,
                )
            if not reported_control.evidence:
                yield (*control, "", "", "", "", "", reported_control.beyond)


REPORT = ReportKind(
    name="compliance-report",
    words="compliance report",
    record=ComplianceReport,
    sheet=sheet_of,
    ledger=lambda report: (
        LedgerEvent(number=report.last.id, sha256=report.last.sha256) if report.last else None
    ),
)
