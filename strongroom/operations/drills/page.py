"""A drill report as a sheet: a pure function of the report, whose signed document vouches for its page."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.drills import words
from strongroom.operations.drills.report import (
    CANCELLED,
    FAILED,
    LACKING,
    LATE,
    PASSED,
    DrillReport,
    Timed,
)
from strongroom.operations.signed_report import ReportKind
from strongroom.sheet import Content, Lines, Mood, Pairs, Part, Share, Sheet, Table, marked
from strongroom.timestamps import readable
from strongroom.words import plural

PREFIX = "drills/"
_MOODS = {
    PASSED: Mood.GOOD,
    LATE: Mood.WARN,
    LACKING: Mood.WARN,
    FAILED: Mood.BAD,
    CANCELLED: Mood.PLAIN,
}


def sheet_of(report: DrillReport) -> Sheet:
    """Return what came of a drill."""
    return Sheet(
        kind="Recovery drill",
        title=words.title(report),
        verdict=words.OUTCOMES.get(report.outcome, report.outcome),
        mood=_MOODS.get(report.outcome, Mood.PLAIN),
        about=words.verdict(report),
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, run {report.run}",
    )


def _parts(report: DrillReport) -> Iterator[Part]:
    if report.problems:
        problems = [(problem.code, problem.means, problem.to_do) for problem in report.problems]
        yield Table(("Problem", "It means", "To do"), problems, "What went wrong, and what to do")
        more = f"On a host of the installation, strongroom runs show {report.run} has the exact words."
        yield Lines([f"This report names no secret. {more}"], style="note")
    yield Pairs(list(words.rehearsed(report)), "What was rehearsed")
    yield Pairs(list(_times(report)), "How long it took")
    longest = max((step.milliseconds for step in report.steps), default=0) or 1
    steps = [_step(step, longest) for step in report.steps]
    yield Table(("Step", "Began (UTC)", "Took", "Result"), steps)
    yield Lines(["The objective is for the steps marked ●, which a real recovery has too."], style="note")
    yield Pairs(list(words.compared(report)), "What was compared")
    if report.checks:
        checks = [
            (marked(check.check, bad=bool(check.code)), check.state, check.what, check.to_do)
            for check in report.checks
        ]
        yield Table(("Check", "State", "Found", "To do"), checks, f"The host of the drill: {report.host}")


def _times(report: DrillReport) -> Iterator[tuple[str, Content]]:
    if report.objective_met is None:
        yield "Until it failed", words.duration(report.took)
        return
    yield "Recovery", words.duration(report.took)
    if report.least:
        yield "At the source's pace", f"at least {words.duration(report.least)}"
    met = "met" if report.objective_met else "missed"
    yield "Objective", f"{words.duration(report.objective)}: {met}"
    share = max(report.took, report.least) / max(report.objective, 1)
    percent = f"{100 * share:,.0f} %" if share >= 0.01 else "less than 1 %"
    mood = Mood.GOOD if report.objective_met else Mood.BAD
    yield "Of the objective", Share(share, percent, mood)


def _step(step: Timed, longest: int) -> tuple[Content, ...]:
    name = words.STEPS.get(step.step, step.step) + (" ●" if step.step in words.COUNTED else "")
    took = words.duration(step.milliseconds) if step.began else ""
    tries = f" after {plural(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    return (
        marked(name, bad=bool(step.began) and not step.done),
        readable(step.began).removesuffix(" UTC"),
        Share(step.milliseconds / longest, took) if took else "",
        words.step_result(step) + tries,
    )


REPORT = ReportKind(
    name="drill-report",
    words="drill report",
    record=DrillReport,
    sheet=sheet_of,
    moment="ended",
    most=1024 * 1024,
    file_name=lambda report: report.run,
    stored=lambda _: PREFIX,
)
