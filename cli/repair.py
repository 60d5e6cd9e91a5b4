"""repair: bring missing or damaged replicas up again, from any good one."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from cli import run_shown
from cli.command import Command
from cli.output import Output
from cli.settings import services
from cli.watching import by_ticket, watching
from strongroom.state.records import Run

if TYPE_CHECKING:
    from strongroom.operations.services import Services


NOTHING = (
    "Nothing to repair: the catalog knows of no bad replica. 'strongroom repair BACKUP' looks for itself."
)


def _arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backup", metavar="BACKUP", nargs="?", help="the backup (default: each that has a bad replica)"
    )


def _repair(arguments: Namespace, output: Output) -> None:
    from cli.policy import require_all_whole  # noqa: PLC0415 - what drives runs
    from strongroom.operations.submit import degraded  # noqa: PLC0415

    built = services()
    wanted = [arguments.backup] if arguments.backup else degraded(built)
    runs = [_one(backup, built, output) for backup in wanted]
    lines = [line for run in runs for line in run_shown.lines_of(run, run_shown.rows_of(built.store, run))]
    document = {"runs": [run_shown.as_document(run, run_shown.rows_of(built.store, run)) for run in runs]}
    output.answer(document, lines or [NOTHING])
    require_all_whole(runs)


def _one(backup: str, built: Services, output: Output) -> Run:
    from strongroom.operations.drive import drive  # noqa: PLC0415
    from strongroom.operations.submit import submit_repair  # noqa: PLC0415

    run, tickets = submit_repair(built, backup=backup)
    with watching(output, built.store) as watch:
        return drive(run, tickets, built, watch=by_ticket(watch))


COMMANDS = {
    "repair": Command(_arguments, _repair, "In this process; 'submit --repair' has the cluster do it.")
}
