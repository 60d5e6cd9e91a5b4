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
    counts = {state: sum(one.state.value == state for one in findings) for state in _STATES}
    rows = [(one.check, one.state.value, _about(one), _in_line(one.what)) for one in findings]
    to_do = [
        (one.state.value, " ".join(filter(None, (one.check, _about(one, none="")))), _in_line(one.to_do))
        for one in sorted(findings, key=lambda one: one.state is not FindingState.WRONG)
        if one.to_do and one.state is not FindingState.GOOD
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
    wrong = next((one.error for one in findings if one.error is not None), None)
    if wrong is not None or any(one.check == OPENS for one in findings):
        return wrong
    return MissingPiece(
        "No backup was found that a recovery could start from.",
        hint="Check that the configuration names the targets that hold backups, or make a backup first.",
    )


def _verdict(findings: Sequence[Finding], file: Path | None) -> str:
    wrong = sum(one.state is FindingState.WRONG for one in findings)
    remarks = plural(sum(one.state is FindingState.REMARK for one in findings), "remark")
    what = f"restore {file}" if file else "recover"
    if wrong:
        return f"This machine could not {what} now: {wrong:,} wrong, {remarks}."
    if any(one.check == OPENS for one in findings):
        return f"This machine could {what} now: nothing is wrong, {remarks}."
    return f"Nothing can be recovered here: no backup was found that a recovery could start from; {remarks}."


def _about(one: Finding, none: str = "-") -> str:
    return ", ".join(filter(None, (one.policy, one.target, one.backup))) or none


def _in_line(text: str) -> str:
    return " ".join(text.split())


_STATES = ("wrong", "remark", "good")
