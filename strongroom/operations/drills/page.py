"""A drill report as one HTML page that needs nothing else: for a screen, a dark screen, and paper.

A pure function of the report: its digest stands in the signed document, so the page is vouched for too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from strongroom.operations.drills import words
from strongroom.operations.drills.report import DrillReport, Timed
from strongroom.operations.drills.words import Fact
from strongroom.words import plural


def page_of(report: DrillReport) -> bytes:
    """Return the page."""
    return "".join(_lines(report)).encode()


def _lines(report: DrillReport) -> Iterator[str]:
    yield _HEAD.format(title=escape(words.title(report)), style=_STYLE)
    yield f'<header><p class="kind">Recovery drill</p><h1>{escape(words.title(report))}</h1></header>\n'
    yield _verdict(report)
    if report.problems:
        yield _section("What went wrong, and what to do", _problems(report))
    yield _section("What was rehearsed", _facts(words.rehearsed(report)))
    yield _section("How long it took", _time(report) + _steps(report))
    yield _section("What was compared", _facts(words.compared(report)))
    if report.checks:
        yield _section(f"The host of the drill: {report.host}", _checks(report))
    yield _section("How to check this report", _check(report))
    yield f"<footer>Strongroom {escape(report.strongroom)}, run {escape(report.run)}</footer>\n"
    yield "</main>\n</body>\n</html>\n"


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{escape(title)}</h2>\n{content}</section>\n"


def _verdict(report: DrillReport) -> str:
    return (
        f'<div class="verdict {escape(report.outcome)}"><strong>{_MARKS.get(report.outcome, "")} '
        f"{escape(words.OUTCOMES.get(report.outcome, report.outcome))}</strong>"
        f"<p>{escape(words.verdict(report))}</p></div>\n"
    )


def _facts(facts: Iterable[Fact]) -> str:
    rows = (f"<dt>{escape(fact.about)}</dt><dd>{escape(fact.said)}</dd>\n" for fact in facts)
    return f"<dl>\n{''.join(rows)}</dl>\n"


# -- time ------------------------------------------------------------------------


def _time(report: DrillReport) -> str:
    if report.objective_met is None:
        return _facts([Fact("Until it failed", words.duration(report.took))])
    met = "met" if report.objective_met else "missed"
    facts = [Fact("Recovery", words.duration(report.took))]
    if report.least:
        facts.append(Fact("At the source's pace", f"at least {words.duration(report.least)}"))
    facts.append(Fact("Objective", f"{words.duration(report.objective)}: {met}"))
    return _facts(facts) + _meter(report)


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
    began = words.moment(step.began).removesuffix(" UTC")
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
    return (
        '<div class="wide"><table>\n<thead><tr><th>Check</th><th>State</th><th>Found</th></tr></thead>\n'
        f"<tbody>\n{rows}</tbody></table></div>\n"
    )


def _check(report: DrillReport) -> str:
    run = escape(report.run)
    return (
        f"<p>The signed document <code>{run}.json</code> says the same as this page, and holds the SHA-256 "
        "of the page. Both are stored next to the backups, under <code>drills/</code> on each target. With "
        "the two files and the installation's fingerprint, which you have from somebody you trust, this "
        "needs no network:</p>\n"
        f"<pre>strongroom drill show {run}.json --page {run}.html --signer sr1:…</pre>\n"
    )


_MARKS = {"passed": "✓", "late": "!", "degraded": "!", "failed": "✕", "cancelled": "–"}

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
"""

_STYLE = """
:root{--ink:#1a1d21;--soft:#59616b;--line:#d9dee4;--ground:#fff;--panel:#f5f7f9;
--good:#17663a;--good-ground:#e6f4ec;--warn:#7a4a00;--warn-ground:#fdf1dc;--bad:#a11220;--bad-ground:#fde8ea;
--bar:#7f93ab}
@media (prefers-color-scheme:dark){:root{--ink:#e8ebee;--soft:#a3adb8;--line:#363d45;--ground:#14171a;
--panel:#1d2226;--good:#7fd6a3;--good-ground:#12301f;--warn:#f0c277;--warn-ground:#35270d;--bad:#ff9aa4;
--bad-ground:#3d1519;--bar:#5c728c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif}
main{max-width:54rem;margin:0 auto;padding:2rem 1.25rem 3rem}
.kind{margin:0;color:var(--soft);text-transform:uppercase;letter-spacing:.08em;font-size:.8rem}
h1{font-size:1.7rem;line-height:1.25;margin:.1rem 0 1.2rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2rem 0 .6rem;padding-bottom:.3rem;border-bottom:1px solid var(--line)}
.verdict{padding:1rem 1.25rem;border-radius:.5rem;border-left:.4rem solid;background:var(--panel)}
.verdict strong{font-size:1.25rem}
.verdict p{margin:.3rem 0 0;color:var(--ink)}
.passed{color:var(--good);background:var(--good-ground)}
.late,.degraded,.cancelled{color:var(--warn);background:var(--warn-ground)}
.failed{color:var(--bad);background:var(--bad-ground)}
dl{display:grid;grid-template-columns:minmax(9rem,max-content) 1fr;gap:.3rem 1.25rem;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{width:100%;border-collapse:collapse;font-size:.95rem;margin-top:.8rem}
th{text-align:left;color:var(--soft);font-weight:600;border-bottom:1px solid var(--line)}
th,td{padding:.4rem .6rem .4rem 0;vertical-align:top}
td{border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
.number{text-align:right;white-space:nowrap}
.bar{width:22%;vertical-align:middle}
.bar span,.meter span{display:block;height:.55rem;border-radius:.3rem;background:var(--bar)}
.meter{margin:.8rem 0 .2rem;background:var(--panel);border:1px solid var(--line);border-radius:.4rem;
padding:2px}
.meter.within span{background:var(--good)}
.meter.over span,.bad{color:var(--bad)}
.meter.over span{background:var(--bad)}
.bad{font-weight:600}
.note{color:var(--soft);font-size:.9rem}
li{margin:.4rem 0}
code,pre{font-family:ui-monospace,"DejaVu Sans Mono",Consolas,monospace;font-size:.88rem}
code{overflow-wrap:anywhere}
pre{background:var(--panel);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;
white-space:pre-wrap;overflow-wrap:anywhere}
footer{margin-top:2.5rem;color:var(--soft);font-size:.85rem;overflow-wrap:anywhere}
@media (max-width:36rem){dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}h1{font-size:1.35rem}}
@media print{:root{--ink:#000;--soft:#444;--line:#bbb;--ground:#fff;--panel:#fff;--good:#000;
--good-ground:#fff;--warn:#000;--warn-ground:#fff;--bad:#000;--bad-ground:#fff;--bar:#888}
main{max-width:none;padding:0}.verdict{border:2px solid #000}section{break-inside:avoid}
.bar span,.meter span{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
"""
