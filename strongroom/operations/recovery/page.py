"""A recovery report as one HTML page that needs nothing else: for a screen, a dark screen, and paper.

A pure function of the report: its digest stands in the signed document, so the page is vouched for too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from strongroom.operations.archive.recoveries import Step
from strongroom.operations.page import definitions, page, row, section, table
from strongroom.operations.recovery import words
from strongroom.operations.recovery.report import RecoveryReport, StepReport
from strongroom.timestamps import readable
from strongroom.words import plural


def page_of(report: RecoveryReport) -> bytes:
    """Return the page."""
    title = f"Recovery {report.recovery}"
    foot = f"{report.strongroom}, recovery {report.recovery}"
    return page("Recovery report", title, _sections(report), foot=foot)


def _sections(report: RecoveryReport) -> Iterator[str]:
    yield _verdict(report)
    if report.left_to_do:
        yield section("What is left to do", _list(report.left_to_do))
    yield section("What happened", definitions(_facts(report)))
    yield section("How long it took", definitions(_times(report)) + _steps(report))
    yield section("What was lost", _sources(report))
    if report.parts:
        yield section("What was restored", _parts(report))
    yield section("What each step was proved by", _proofs(report))
    if report.told:
        yield section("Who was notified", _told(report))
    yield section("How to check this report", _check(report))


def _verdict(report: RecoveryReport) -> str:
    in_time = report.in_time
    shown = report.outcome if in_time or report.outcome != words.PASSED else "late"
    late = "" if in_time else " It took longer than the objective."
    return (
        f'<div class="verdict {escape(shown)}"><strong>{_MARKS.get(shown, "")} '
        f"{escape(_TITLES.get(report.outcome, report.outcome))}</strong>"
        f"<p>{escape(_SENTENCES.get(report.outcome, ''))}{late}</p></div>\n"
    )


def _facts(report: RecoveryReport) -> Iterator[tuple[str, str]]:
    if report.reason:
        yield "Why", report.reason
    yield "Opened", readable(report.opened_at)
    yield "Closed", readable(report.closed_at)
    yield "Lost", ", ".join(report.lost) or "nothing"
    yield "Leaked", ", ".join(report.leaked) or "no key that is known"
    for target, why in report.away.items():
        yield "Did not answer", f"target {target}: {why}"
    yield "Hosts", ", ".join(report.hosts)


def _times(report: RecoveryReport) -> Iterator[tuple[str, str]]:
    yield "All of it", words.length(report.took)
    yield "Objective", f"{words.length(report.objective)}: {'met' if report.in_time else 'missed'}"


def _steps(report: RecoveryReport) -> str:
    rows = (
        row(
            (
                words.STEPS[Step(one.step)],
                readable(one.began_at),
                readable(one.ended_at),
                _how(one),
                one.by,
            )
        )
        for one in report.steps
    )
    return table(("Step", "Began", "Ended", "How it ended", "By"), rows)


def _how(one: StepReport) -> str:
    tries = f", after {plural(one.attempts, 'attempt')}" if one.attempts > 1 else ""
    return f"{one.ended}{tries}{f': {one.reason}' if one.reason else ''}"


def _sources(report: RecoveryReport) -> str:
    rows = (
        row(
            (one.name, "no answer" if one.there is None else f"{one.there:,}", f"{one.held:,}", one.why),
            bad=one.name in report.lost,
        )
        for one in report.sources
    )
    return table(("Source", "Secrets there", "In its backup", "Remark"), rows)


def _parts(report: RecoveryReport) -> str:
    rows = (
        row((one.backup, one.policy, one.made_at, f"{one.secrets:,}", one.limits or "everything", one.into))
        for one in report.parts
    )
    return table(("Backup", "Policy", "Made", "Secrets", "Of", "Restored into"), rows)


def _proofs(report: RecoveryReport) -> str:
    rows = (
        row(
            (
                words.STEPS[Step(one.step)],
                proof.check,
                proof.code or "good",
                " ".join((*proof.said, proof.of and f"({proof.of})")),
            ),
            bad=bool(proof.code),
        )
        for one in report.steps
        for proof in one.proofs
    )
    return table(("Step", "Check", "Result", "Found"), rows)


def _told(report: RecoveryReport) -> str:
    rows = (row((one.message, readable(one.at), "; ".join(one.lines))) for one in report.told)
    return table(("Message", "At", "To"), rows)


def _list(lines: Iterable[str]) -> str:
    return f"<ul>\n{''.join(f'<li>{escape(line)}</li>{chr(10)}' for line in lines)}</ul>\n"


def _check(report: RecoveryReport) -> str:
    name = escape(report.recovery)
    return (
        f"<p>The signed document <code>{name}.json</code> says the same as this page, and holds the "
        "SHA-256 of the page. With the two files and the installation's fingerprint, which you have from "
        "somebody you trust, this needs no network:</p>\n"
        f"<pre>strongroom report check {name}.json --signer sr1:…</pre>\n"
    )


_TITLES = {
    words.PASSED: "Recovered",
    words.LACKING: "Recovered, with something left to do",
    words.NOTHING: "Nothing had to be recovered",
}
_SENTENCES = {
    words.PASSED: "Each step was proved by a check.",
    words.LACKING: "A step was skipped, or a check left something to do: see below.",
    words.NOTHING: "Nothing was lost, and nobody named a key that may be in wrong hands.",
}
_MARKS = {"passed": "✓", "late": "!", "degraded": "!", "nothing": "–"}
