"""ledger: the head of the record of events, and whether the record still leads to one that was printed."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from string import hexdigits

from msgspec import to_builtins

from cli.command import Command
from cli.output import Output, plural
from cli.parser import Parser
from strongroom.errors import UsageError

DIGITS = 64


def _arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    commands.add_parser("head", help="show the newest event's number and the digest of all up to it")
    checking = commands.add_parser("check", help="make the chain anew, and compare")
    checking.add_argument("--id", metavar="N", type=int, help="the number of the event that was printed")
    checking.add_argument("--sha256", metavar="HEX", nargs="+", help="its digest; spaces do not count")


def _ledger(arguments: Namespace, output: Output) -> None:
    {"head": _show, "check": _check}[arguments.action](arguments, output)


def _show(arguments: Namespace, output: Output) -> None:
    from cli.settings import run_store  # noqa: PLC0415 - the run store
    from strongroom.operations.ledger import check  # noqa: PLC0415

    del arguments
    head = check(run_store()).head
    words = [f"event {head.id}, {head.kind}, {head.at}", f"SHA-256 {head.sha256}"] if head else []
    output.answer({"head": to_builtins(head)}, words or ["Nothing has happened yet."])


def _check(arguments: Namespace, output: Output) -> None:
    from cli.settings import run_store  # noqa: PLC0415 - the run store
    from strongroom.operations.ledger import check  # noqa: PLC0415

    if (arguments.id is None) != (arguments.sha256 is None):
        raise UsageError("--id and --sha256 go together: both stand on the paper.")
    digest = _digest(arguments.sha256) if arguments.sha256 else ""
    found = check(run_store(), number=arguments.id, sha256=digest)
    words = [f"{plural(found.events, 'event')}: each is what was appended, and none is missing in between."]
    if found.printed:
        words.append(f"Up to event {found.printed.id}, of {found.printed.at}, it is what was printed.")
    else:
        words.append("Whether the newest were cut off, only a printed head can tell: --id and --sha256.")
    output.answer(to_builtins(found), words)


def _digest(words: list[str]) -> str:
    """Return what a person typed off a paper."""
    typed = "".join("".join(words).split()).lower()
    if len(typed) != DIGITS or not set(typed) <= set(hexdigits):
        raise UsageError(f"A SHA-256 has {DIGITS} digits 0-9 a-f; {len(typed)} characters were typed.")
    return typed


COMMANDS = {
    "ledger": Command(
        _arguments,
        _ledger,
        "The recovery kit prints the head. At a drill type 'ledger check' with its number and digest: it\n"
        "says whether anything up to there was changed, added, removed or cut off since.",
    )
}
