"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from strongroom.cli.parameters import Command, ending, limit
from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.cli.shared.options import add_reason_argument


def _up_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flower", action="store_true", help="run the task monitor too; it asks for a login")
    parser.add_argument("--metrics", action="store_true", help="serve metrics for Prometheus too")
    parser.add_argument(
        "--page", action="store_true", help="serve the page for a browser too; it asks for a login"
    )
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="use an embedded broker that loses its queues at a restart",
    )
    parser.add_argument(
        "--with-recover",
        action="store_true",
        help="run the recover workers too, which restore and rotate with the private keys",
    )


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--watch", action="store_true", help="show policies, runs, queues and alerts live; q ends it"
    )
    parser.add_argument(
        "--limit", metavar="N", type=limit, default=20, help="how many runs to list (default: 20)"
    )


def _list_work(arguments: Namespace) -> str:
    return "status:watch_installation" if arguments.watch else "status:list_runs"


def _show_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="the run, or the id that --cluster printed")
    parser.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")


def _cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="the run, or the id that --cluster printed")


def _retry_arguments(parser: ArgumentParser) -> None:
    _cancel_arguments(parser)
    parser.add_argument("--here", action="store_true", help="run it in this process, even if a cluster runs")


def _repair_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backup",
        metavar="BACKUP",
        nargs="?",
        help="this backup (default: each with a bad or missing replica)",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        default=[],
        help="check everything on this target, and repair it; repeatable",
    )
    parser.add_argument("--all", action="store_true", help="the same for every target")
    options.add_cluster_arguments(parser)


def _repair_work(arguments: Namespace) -> str:
    return "cluster:repair_there" if arguments.cluster else "cluster:repair_backups"


def _schedule_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run="cluster:show_calendar")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    now = actions.add_parser("run", help="run an entry now")
    now.set_defaults(run="cluster:run_entry")
    now.add_argument("--here", action="store_true", help="run it in this process, even if a cluster runs")
    now.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")
    pause = actions.add_parser("pause", help="let an entry rest")
    pause.set_defaults(run="cluster:pause_entry")
    pause.add_argument(
        "--until",
        metavar="TIME",
        type=ending,
        help="when it ends by itself: 2026-12-01T08:00Z, or a length from now such as 3d "
        "(default: until it is resumed)",
    )
    resume = actions.add_parser("resume", help="end a pause")
    resume.set_defaults(run="cluster:resume_entry")
    for action in (now, pause, resume):
        action.add_argument("entry", metavar="ENTRY", help="its name, as 'strongroom schedule' shows it")
    add_reason_argument(pause)
    resume.add_argument("--reason", metavar="TEXT", default="", help="why; it goes on record")


COMMANDS = {
    "up": Command(
        _up_arguments,
        "cluster:start_cluster",
        "Runs the broker (embedded, unless the configuration names one), the worker pools and beat. A\n"
        "process that exits is started again. Ctrl-C stops in order: steps are finished or handed back.",
    ),
    "schedule": Command(
        _schedule_arguments,
        details="Without an action: every entry, the result of its last time, when it is due next, and what\n"
        "is overdue, paused or off, and why. Times are by the clock of each entry's time zone. If an entry\n"
        "is overdue, the exit code is that of a missing backup.\n"
        "'run' makes a run like any other: the cluster performs it, or without one this process. A\n"
        "pause ends by itself at its end; the newest slot that came meanwhile is made up for then.",
    ),
    "runs show": Command(_show_arguments, "status:show_run"),
    "runs": Command(
        _list_arguments,
        _list_work,
        "--watch reads the record each second, and draws on the whole terminal what it says of each policy\n"
        "and target, of what runs, how fast and how long still, of the queues and of alerts. Into a pipe it\n"
        "writes a line for each change. q and Ctrl-C end it with exit code 0; the runs go on.",
    ),
    "runs cancel": Command(
        _cancel_arguments,
        "status:cancel_run",
        "A step that is being performed stops when it next renews its lease, and leaves nothing half-made.\n"
        "If the run has ended already, it is shown and the exit code is 4. If a process still holds a step\n"
        "after a minute, it is named and the command fails: the run ends later.",
    ),
    "runs retry": Command(
        _retry_arguments,
        "status:retry_run",
        "A failed run starts over, because its report removed what it had staged. A run whose process was\n"
        "killed continues where it stopped.",
    ),
    "backups repair": Command(
        _repair_arguments,
        _repair_work,
        "Without a name it lists the\n"
        "targets, records which replicas are missing, and repairs those and the ones on record as bad.\n"
        "--target and --all also compare manifests and the containers' names and sizes with the record.\n"
        "BACKUP reads the whole backup.",
    ),
}
