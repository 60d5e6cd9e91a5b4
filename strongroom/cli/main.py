"""``strongroom``: find the command, run it, and turn every outcome into an exit code."""

from __future__ import annotations

import atexit
import gc
import sys
from collections.abc import Sequence
from itertools import takewhile

from strongroom import __version__
from strongroom.cli import table
from strongroom.cli.terminal import failures
from strongroom.cli.terminal.output import Output, clear_broken_pipe, fill_streams
from strongroom.cli.terminal.stopping import in_order
from strongroom.errors import StrongroomError
from strongroom.system.errors import lack_of_host
from strongroom.system.lazy import package_missing, refuse_taken_names, resolve
from strongroom.system.process import keep_in_memory


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    keep_in_memory()
    refuse_taken_names()
    atexit.register(gc.freeze)  # Python collects as it ends, and would look through all that ends with it
    fill_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    output = Output(json="--json" in words)
    with in_order() as asked:
        try:
            _run(words, output)
            output.settle()
            sys.stdout.flush()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a person gets words and no traceback
            failures.ask_what_is_left(error, output)
            asked.is_over = True
            failures.debug(error)
            _settle_accesses(error)
            return _explain(error, output)
        asked.is_over = True
        _settle_accesses(None)
    return 0


def _settle_accesses(error: BaseException | None) -> None:
    """Put on record what came of opening a backup, if this command tried to."""
    if (access_log := sys.modules.get("strongroom.cli.shared.access_log")) is not None:
        access_log.record_outcomes(error)


def _explain(error: BaseException, output: Output) -> int:
    error = lack_of_host(error) or error
    match error:
        case StrongroomError():
            return failures.report(error, output)
        case KeyboardInterrupt():
            return failures.interrupted(error, output)
        case BrokenPipeError():
            clear_broken_pipe()
            return failures.BROKEN_PIPE
        case OSError():
            return failures.report(failures.from_os(error), output)
        case ModuleNotFoundError() if missing := package_missing(error):
            return failures.report(missing, output)
        case _:
            return failures.unexpected(error, output)


def _run(words: list[str], output: Output) -> None:
    words = _leading_options_last(words)
    first = words[0] if words else ""
    name, behind = table.command_of(words)
    if first in ("-h", "--help", "help"):
        print(table.overview(), end="")
    elif first in ("--version", "version"):
        print(f"{table.PROGRAM} {__version__}")
    elif first == table.COMPLETE:
        resolve("strongroom.cli.commands.setup.completion:print_names")(*words[1:2] or [""])
    elif name:
        resolve("strongroom.cli.parser:run_command")(name, behind, output)
    elif first in table.SUBJECTS and {"-h", "--help"} & set(behind):
        print(table.help_of_subject(first), end="")
    else:
        if first in table.SUBJECTS or not first:
            print(table.help_of_subject(first) if first else table.overview(), file=sys.stderr)
        raise table.unknown_command(words)


def _leading_options_last(words: list[str]) -> list[str]:
    """Accept the options of every command in front of it too."""
    leading = list(takewhile(table.OF_EVERY_COMMAND.__contains__, words))
    return words[len(leading) :] + leading
