"""What check machine answers: each check, what to do, and whether this machine could recover."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import plural
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.findings import Finding, FindingState
from strongroom.operations.readiness.backups import OPENS
from strongroom.sheet import Lines, Mood, Sheet, Table


def answer(findings: Sequence[Finding], file: Path | None) -> Answer:
    """Answer with what was found, and with what keeps this machine from recovering."""
    error = _error(findings)
    code = 0 if error is None else error.exit_code
    counts = {state: sum(finding.state.value == state for finding in findings) for state in _STATES}
    rows = [
        (finding.check, finding.state.value, _about(finding), _in_line(finding.what)) for finding in findings
    ]
    to_do = [
        (
            finding.state.value,
            " ".join(filter(None, (finding.check, _about(finding, none="")))),
            _in_line(finding.to_do),
        )
        for finding in sorted(findings, key=lambda finding: finding.state is not FindingState.WRONG)
        if finding.to_do and finding.state is not FindingState.GOOD
    ]
    return Answer(
        record={"ready": code == 0, "checks": findings, "counts": counts, "exit_code": code},
        sheet=Sheet(
            verdict=_verdict(findings, file),
            mood=Mood.GOOD if error is None else Mood.BAD,
            parts=[
                Table(("Check", "State", "About", "What"), rows),
                Lines([": ".join(words) for words in to_do], "To do", style="list"),
            ],
        ),
        error=error,
    )


def _error(findings: Sequence[Finding]) -> StrongroomError | None:
    """Return the error of the first check that is wrong, or that there is no backup to recover from."""
    wrong = next((finding.error for finding in findings if finding.error is not None), None)
    if wrong is not None or any(finding.check == OPENS for finding in findings):
        return wrong
    return MissingPiece(
        "No backup was found that a recovery could start from.",
        hint="Check that the configuration names the targets that hold backups, or make a backup first.",
    )


def _verdict(findings: Sequence[Finding], file: Path | None) -> str:
    wrong = sum(finding.state is FindingState.WRONG for finding in findings)
    remarks = plural(sum(finding.state is FindingState.REMARK for finding in findings), "remark")
    what = f"restore {file}" if file else "recover"
    if wrong:
        return f"This machine could not {what} now: {wrong:,} wrong, {remarks}."
    if any(finding.check == OPENS for finding in findings):
        return f"This machine could {what} now: nothing is wrong, {remarks}."
    return f"Nothing can be recovered here: no backup was found that a recovery could start from; {remarks}."


def _about(finding: Finding, none: str = "-") -> str:
    return ", ".join(filter(None, (finding.policy, finding.target, finding.backup))) or none


def _in_line(text: str) -> str:
    return " ".join(text.split())


_STATES = ("wrong", "remark", "good")
