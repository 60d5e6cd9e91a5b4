"""What check-recovery-environment answers: each check, what to do, and whether this machine could recover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strongroom.cli.terminal.output import Output, plural, table
from strongroom.container.errors import MissingPiece
from strongroom.operations.findings import Finding, State
from strongroom.operations.readiness.backups import OPENS


def answer(findings: Sequence[Finding], file: Path | None, output: Output) -> int:
    """Print what was found, and return the exit code that it comes to."""
    output.answer(_document(findings), _lines(findings, file))
    return _exit_code(findings)


def _exit_code(findings: Sequence[Finding]) -> int:
    """Return that of the first check that is wrong, or of a missing backup where none can be recovered."""
    nothing = 0 if any(one.check == OPENS for one in findings) else MissingPiece.exit_code
    return next((one.exit_code for one in findings if one.exit_code), nothing)


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    counts = dict.fromkeys(_STATES, 0)
    for one in findings:
        counts[one.state.value] += 1
    code = _exit_code(findings)
    return {"ready": code == 0, "checks": findings, "counts": counts, "exit_code": code}


def _lines(findings: Sequence[Finding], file: Path | None) -> Iterator[str]:
    rows = [(one.check, one.state.value, _about(one), _in_line(one.what)) for one in findings]
    yield from table(("CHECK", "STATE", "ABOUT", "WHAT"), rows)
    to_do = [one for one in findings if one.to_do and one.state is not State.GOOD]
    if to_do:
        yield "To do:"
    for one in sorted(to_do, key=lambda one: one.state is not State.WRONG):
        named = " ".join(filter(None, (one.check, _about(one, none=""))))
        yield f"  {one.state.value}: {named}: {_in_line(one.to_do)}"
    yield _closing(findings, file)


def _closing(findings: Sequence[Finding], file: Path | None) -> str:
    wrong = sum(one.state is State.WRONG for one in findings)
    remarks = plural(sum(one.state is State.REMARK for one in findings), "remark")
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
