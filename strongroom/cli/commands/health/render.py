"""Findings of a look at health, for people: worst first, what to do below, one sentence to close."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec import to_builtins

from strongroom.cli.terminal.output import plural, table
from strongroom.operations.findings import Finding, State, worst_error, worst_first

_COUNTED = {
    State.WRONG: "{} critical",
    State.UNKNOWN: "{} could not be checked",
    State.WARNING: "{} with a warning",
    State.REMARK: "{} with a remark",
    State.GOOD: "{} good",
}


def document(findings: Sequence[Finding], **more: Any) -> dict[str, Any]:
    """Return findings for machines."""
    counts = {state.value: sum(one.state is state for one in findings) for state in State}
    ordered = worst_first(findings)
    worst = worst_error(findings)
    named = {"code": worst.code if worst else "", "exit_code": worst.exit_code if worst else 0}
    return {**more, "findings": [to_builtins(one) for one in ordered], "counts": counts, **named}


def raise_worst(findings: Sequence[Finding]) -> None:
    """Return if nothing is wrong and all was looked at; raise the error of the worst finding otherwise."""
    if (worst := worst_error(findings)) is not None:
        raise worst


def of_backups(findings: Sequence[Finding], backups: int) -> Iterator[str]:
    """Yield a table for each backup, and one of what is about none."""
    for name in sorted({one.backup for one in findings}, key=lambda name: (name == "", name)):
        mine = [one for one in findings if one.backup == name]
        yield f"{name}, of policy '{mine[0].policy}'" if name else "Keys, targets and policies"
        yield from _indented(_rows(mine))
        yield ""
    yield closing(findings, plural(backups, "backup"))


def of_installation(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each area, and what is to be done."""
    ordered = worst_first(findings)
    yield from table(("AREA", "STATE", "WHAT"), ((one.check, one.state.value, one.what) for one in ordered))
    yield from _to_do(ordered)
    yield ""
    yield closing(findings, "This installation")


def closing(findings: Sequence[Finding], what: str) -> str:
    """Return one sentence that says how it stands."""
    counted = [(state, sum(one.state is state for one in findings)) for state in State]
    said = ", ".join(_COUNTED[state].format(f"{many:,}") for state, many in counted if many)
    well = "nothing is wrong, and everything was checked"
    bad = "not well" if any(one.state is State.WRONG for one in findings) else "not everything is known"
    worst = worst_error(findings)
    named = f"; exit code {worst.exit_code}, {worst.code}" if worst else ""
    return f"{what}: {bad if worst else well} ({said or 'nothing to check'}{named})."


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)


def _rows(findings: Iterable[Finding]) -> Iterator[str]:
    merged = worst_first(_merged(findings))
    rows = ((one.check, one.state.value, one.target or "-", one.what) for one in merged)
    yield from table(("CHECK", "STATE", "TARGET", "WHAT"), rows)
    yield from _to_do(merged)


def _merged(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield what is the same on several targets once."""
    found: dict[tuple[str, ...], list[Finding]] = {}
    for one in findings:
        found.setdefault((one.check, one.state, one.what, one.to_do), []).append(one)
    for same in found.values():
        yield same[0].on(target=", ".join(dict.fromkeys(one.target for one in same if one.target)))


def _to_do(findings: Iterable[Finding]) -> Iterator[str]:
    to_do = dict.fromkeys(one.to_do for one in findings if one.to_do and one.state is not State.GOOD)
    if to_do:
        yield "To do:"
        yield from (f"  - {each}" for each in to_do)
