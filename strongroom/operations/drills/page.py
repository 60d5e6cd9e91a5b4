"""A drill report as one HTML page that needs nothing else: for a screen, a dark screen, and paper.

A pure function of the report: its digest stands in the signed document, so the page is vouched for too.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from strongroom.operations.drills import words
from strongroom.operations.drills.report import DrillReport, Timed
from strongroom.operations.drills.words import Fact
from strongroom.operations.page import definitions, page, section, table
from strongroom.timestamps import readable
from strongroom.words import plural


def page_of(report: DrillReport) -> bytes:
    """Return the page."""
    title = words.title(report)
    foot = f"{report.strongroom}, run {report.run}"
    return page("Recovery drill", title, _sections(report), foot=foot)


def _sections(report: DrillReport) -> Iterator[str]:
    yield _verdict(report)
    if report.problems:
        yield section("What went wrong, and what to do", _problems(report))
    yield section("What was rehearsed", definitions(words.rehearsed(report)))
    yield section("How long it took", _time(report) + _steps(report))
    yield section("What was compared", definitions(words.compared(report)))
    if report.checks:
        yield section(f"The host of the drill: {report.host}", _checks(report))
    yield section("How to check this report", _check(report))


def _verdict(report: DrillReport) -> str:
    return (
        f'<div class="verdict {escape(report.outcome)}"><strong>{_MARKS.get(report.outcome, "")} '
        f"{escape(words.OUTCOMES.get(report.outcome, report.outcome))}</strong>"
        f"<p>{escape(words.verdict(report))}</p></div>\n"
    )


# -- time ------------------------------------------------------------------------


def _time(report: DrillReport) -> str:
    if report.objective_met is None:
        return definitions([Fact("Until it failed", words.duration(report.took))])
    met = "met" if report.objective_met else "missed"
    facts = [Fact("Recovery", words.duration(report.took))]
    if report.least:
        facts.append(Fact("At the source's pace", f"at least {words.duration(report.least)}"))
    facts.append(Fact("Objective", f"{words.duration(report.objective)}: {met}"))
    return definitions(facts) + _meter(report)


def _meter(report: DrillReport) -> str:
    share = 100 * max(report.took, report.least) / max(report.objective, 1)
    state = "within" if report.objective_met else "over"
    return (
        f'<div class="meter {state}"><span style="width:{min(max(share, 0.5), 100):.1f}%"></span></div>\n'
        f'<p class="note">{_percent(share)} of the objective</p>\n'
    )


def _percent(share: float) -> str:
    return f"{share:,.0f} %" if share >= 1 else "less than 1 %"


def _steps(report: DrillReport) -> str:
    longest = max((step.milliseconds for step in report.steps), default=0) or 1
    rows = "".join(_step(step, longest) for step in report.steps)
    return (
        '<div class="wide"><table>\n<thead><tr><th>Step</th><th>Began (UTC)</th><th class="number">Took</th>'
        f"<th></th><th>Result</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
        '<p class="note">The objective is for the steps marked ●, which a real recovery has too.</p>\n'
    )


def _step(step: Timed, longest: int) -> str:
    began = readable(step.began).removesuffix(" UTC")
    took = words.duration(step.milliseconds) if step.began else ""
    tries = f" after {plural(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    mark = " ●" if step.step in words.COUNTED else ""
    result = f'<td class="{"" if step.done or not step.began else "bad"}">'
    return (
        f"<tr><td>{escape(words.STEPS.get(step.step, step.step))}{mark}</td><td>{escape(began)}</td>"
        f'<td class="number">{escape(took)}</td>'
        f'<td class="bar"><span style="width:{100 * step.milliseconds / longest:.1f}%"></span></td>'
        f"{result}{escape(words.step_result(step) + tries)}</td></tr>\n"
    )


# -- the rest --------------------------------------------------------------------


def _problems(report: DrillReport) -> str:
    items = (
        f"<li><strong>{escape(problem.code)}</strong> {escape(problem.means)}"
        f"{f'<br>To do: {escape(problem.to_do)}' if problem.to_do else ''}</li>\n"
        for problem in report.problems
    )
    more = (
        f"This report names no secret. On a host of the installation, <code>strongroom status "
        f"{escape(report.run)}</code> has the exact words."
    )
    return f'<ul>\n{"".join(items)}</ul>\n<p class="note">{more}</p>\n'


def _checks(report: DrillReport) -> str:
    rows = "".join(
        f'<tr><td>{escape(one.check)}</td><td class="{"bad" if one.code else ""}">{escape(one.state)}</td>'
        f"<td>{escape(one.what)}{f'<br>{escape(one.to_do)}' if one.to_do else ''}</td></tr>\n"
        for one in report.checks
    )
    return table(("Check", "State", "Found"), [rows])


def _check(report: DrillReport) -> str:
    run = escape(report.run)
    return (
        f"<p>The signed document <code>{run}.json</code> says the same as this page, and holds the SHA-256 "
        "of the page. Both are stored next to the backups, under <code>drills/</code> on each target. With "
        "the two files and the installation's fingerprint, which you have from somebody you trust, this "
        "needs no network:</p>\n"
        f"<pre>strongroom report check {run}.json --signer sr1:…</pre>\n"
    )


_MARKS = {"passed": "✓", "late": "!", "degraded": "!", "failed": "✕", "cancelled": "–"}
