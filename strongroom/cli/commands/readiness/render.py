"""What check machine answers: each check, what to do, and whether this machine could recover."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strongroom.cli.terminal.output import Output, plural, table
from strongroom.container.errors import MissingPiece
from strongroom.errors import StrongroomError
from strongroom.operations.findings import Finding, State
from strongroom.operations.readiness.backups import OPENS


def answer(findings: Sequence[Finding], file: Path | None, output: Output) -> None:
    """Print what was found, and raise what keeps this machine from recovering."""
    error = _error(findings)
    output.answer(_document(findings, error), _lines(findings, file))
    if error is not None:
        raise error


def _error(findings: Sequence[Finding]) -> StrongroomError | None:
    """Return the error of the first check that is wrong, or that there is no backup to recover from."""
    wrong = next((one.error for one in findings if one.error is not None), None)
    if wrong is not None or any(one.check == OPENS for one in findings):
        return wrong
    return MissingPiece(
        "No backup was found that a recovery could start from.",
        hint="Check that the configuration names the targets that hold backups, or make a backup first.",
    )


def _document(findings: Sequence[Finding], error: StrongroomError | None) -> dict[str, Any]:
    counts = dict.fromkeys(_STATES, 0)
    for one in findings:
        counts[one.state.value] += 1
    code = 0 if error is None else error.exit_code
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
