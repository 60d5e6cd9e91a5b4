"""check-recovery-environment: whether this machine, as this user, right now, could recover."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.cli.shared import identities, trust
from strongroom.cli.terminal import place
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.output import Output, plural, table
from strongroom.container.errors import MissingPiece

if TYPE_CHECKING:
    from strongroom.operations.findings import Finding


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--backup-file",
        metavar="FILE",
        type=Path,
        help="ask whether this file could be restored here, whatever is configured",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        help="ask whether this configured source could be restored into (default: those with "
        "'destination = true', or else those that are backed up)",
    )
    identities.add_arguments(parser)
    trust.add_signer_argument(parser)


def _check(arguments: Namespace, output: Output) -> int:
    here = place.find()
    if arguments.backup_file is not None:
        from strongroom.cli.commands.readiness.single_file import look as look_at_file  # noqa: PLC0415

        findings = list(look_at_file(arguments, output, here))
    else:
        from strongroom.cli.commands.readiness.configured import look  # noqa: PLC0415 - the run store

        findings = list(look(arguments, output, here))
    output.answer(_document(findings), _lines(findings, arguments.backup_file))
    return _exit_code(findings)


def _exit_code(findings: Sequence[Finding]) -> int:
    """Return that of the first check that is wrong, or of a missing backup where none can be recovered."""
    from strongroom.operations.readiness.backups import OPENS  # noqa: PLC0415

    nothing = 0 if any(one.check == OPENS for one in findings) else MissingPiece.exit_code
    return next((one.exit_code for one in findings if one.exit_code), nothing)


def _document(findings: Sequence[Finding]) -> dict[str, Any]:
    counts = dict.fromkeys(_STATES, 0)
    for one in findings:
        counts[one.state.value] += 1
    code = _exit_code(findings)
    return {"ready": code == 0, "checks": findings, "counts": counts, "exit_code": code}


def _lines(findings: Sequence[Finding], file: Path | None) -> Iterator[str]:
    from strongroom.operations.findings import State  # noqa: PLC0415

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
    from strongroom.operations.findings import State  # noqa: PLC0415
    from strongroom.operations.readiness.backups import OPENS  # noqa: PLC0415

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

COMMANDS = {
    "check-recovery-environment": Command(
        _arguments,
        _check,
        "Tries what can be tried without writing: seals and opens with every kind of key, asks every target\n"
        "for its newest backups, opens each with the keys at hand, and asks sources whether they may be\n"
        "written to. What a second target or key makes good is a remark. The exit code is that of the first\n"
        "thing that is wrong. Nothing is waited for longer than 20 seconds, and nobody is asked for a PIN.",
    )
}
