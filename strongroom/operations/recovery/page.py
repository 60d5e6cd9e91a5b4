"""A recovery report as a sheet: a pure function of the report, whose signed document vouches for its page."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.operations.archive.recoveries import RecoveryStep
from strongroom.operations.recovery import words
from strongroom.operations.recovery.report import RecoveryReport, StepReport
from strongroom.operations.signed_report import ReportKind
from strongroom.sheet import Content, Lines, Mood, Pairs, Part, Sheet, Table, marked
from strongroom.timestamps import readable
from strongroom.words import plural

_OUTCOMES = {
    words.PASSED: (Mood.GOOD, "Recovered", "Each step was proved by a check."),
    words.LACKING: (
        Mood.WARN,
        "Recovered, with something left to do",
        "A step was skipped, or a check left something to do.",
    ),
    words.NOTHING: (
        Mood.PLAIN,
        "Nothing had to be recovered",
        "Nothing was lost, and nobody named a key that may be in wrong hands.",
    ),
}


def sheet_of(report: RecoveryReport) -> Sheet:
    """Return what came of a recovery."""
    mood, verdict, about = _OUTCOMES.get(report.outcome, (Mood.PLAIN, report.outcome, ""))
    late = report.outcome == words.PASSED and not report.in_time
    return Sheet(
        kind="Recovery report",
        title=f"Recovery {report.recovery}",
        verdict=verdict,
        mood=Mood.WARN if late else mood,
        about=about if report.in_time else f"{about} It took longer than the objective.",
        parts=list(_parts(report)),
        foot=f"{report.strongroom}, recovery {report.recovery}",
    )


def _parts(report: RecoveryReport) -> Iterator[Part]:
    if report.left_to_do:
        yield Lines(report.left_to_do, "What is left to do", style="list")
    away = [("Did not answer", f"target {target}: {why}") for target, why in report.away.items()]
    yield Pairs(
        [
            ("Why", report.reason),
            ("Opened", readable(report.opened_at)),
            ("Closed", readable(report.closed_at)),
            ("Lost", ", ".join(report.lost) or "nothing"),
            ("Leaked", ", ".join(report.leaked) or "no key that is known"),
            *away,
            ("Hosts", ", ".join(report.hosts)),
        ],
        "What happened",
    )
    objective = f"{words.length(report.objective)}: {'met' if report.in_time else 'missed'}"
    times = [("All of it", words.length(report.took)), ("Objective", objective)]
    yield Pairs(times, "How long it took")
    yield Table(("Step", "Began", "Ended", "How it ended", "By"), list(map(_step, report.steps)))
    sources = [
        (
            marked(source.name, bad=source.name in report.lost),
            "no answer" if source.there is None else source.there,
            source.held,
            source.why,
        )
        for source in report.sources
    ]
    yield Table(("Source", "Secrets there", "In its backup", "Remark"), sources, "What was lost")
    if report.parts:
        restored = [
            (part.backup, part.policy, part.made_at, part.secrets, part.limits or "everything", part.into)
            for part in report.parts
        ]
        head = ("Backup", "Policy", "Made", "Secrets", "Of", "Restored into")
        yield Table(head, restored, "What was restored")
    proofs = [
        (
            marked(words.STEPS[RecoveryStep(step.step)], bad=bool(proof.code)),
            proof.check,
            proof.code or "good",
            " ".join((*proof.said, proof.of and f"({proof.of})")),
        )
        for step in report.steps
        for proof in step.proofs
    ]
    yield Table(("Step", "Check", "Result", "Found"), proofs, "What each step was proved by")
    if report.told:
        told = [(message.message, readable(message.at), "; ".join(message.lines)) for message in report.told]
        yield Table(("Message", "At", "To"), told, "Who was notified")


def _step(step: StepReport) -> tuple[Content, ...]:
    tries = f", after {plural(step.attempts, 'attempt')}" if step.attempts > 1 else ""
    ended = f"{step.ended}{tries}{f': {step.reason}' if step.reason else ''}"
    name = words.STEPS[RecoveryStep(step.step)]
    return (name, readable(step.began_at), readable(step.ended_at), ended, step.by)


REPORT = ReportKind(
    name="recovery-report",
    words="recovery report",
    record=RecoveryReport,
    sheet=sheet_of,
    moment="closed_at",
    most=4 * 1024 * 1024,
    file_name=lambda report: report.recovery,
)
