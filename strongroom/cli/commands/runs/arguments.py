"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.parser import Parser
from strongroom.cli.shared.options import RELOCATE, add_reason_argument, ending
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.model import Depth


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


def _submit_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("policy", metavar="POLICY", nargs="?", help="back up by this policy")
    what.add_argument("--verify", metavar="BACKUP", help="read a backup back from every target")
    what.add_argument("--repair", metavar="BACKUP", help="restore a backup's bad replicas")
    what.add_argument("--restore", metavar="BACKUP", help="restore this backup into --to")
    what.add_argument(
        "--recovery",
        metavar="BACKUP",
        help="check the worker's host, restore this backup (or a policy's newest) into --to, and validate",
    )
    what.add_argument("--undo", metavar="RUN", help="undo a restore run, or an undo")
    what.add_argument("--drill", metavar="POLICY", help="rehearse the recovery of a policy's newest backup")
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=tuple(Depth),
        metavar="DEPTH",
        help="of --verify: present, digest (the default), opened, compared (each value with its digest at "
        "capture), live (with what the source has now)",
    )
    parser.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")
    group = parser.add_argument_group("what to restore, and where to")
    group.add_argument("--to", metavar="SOURCE", help="the configured source to restore into")
    group.add_argument(
        "--secret-name", metavar="NAME", action="append", default=[], help="only this secret; repeatable"
    )
    group.add_argument(
        "--filter-tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only secrets with this tag; repeatable, all have to match",
    )
    group.add_argument(
        "--overwrite-existing",
        action="store_true",
        help="replace what differs there; its former value is kept, sealed, for an undo",
    )
    group.add_argument("--relocate", metavar="FROM=TO", default="", help=RELOCATE)


def _status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="a run, or the id that 'submit' printed")
    parser.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")
    parser.add_argument(
        "--watch", action="store_true", help="show policies, runs, queues and alerts live; q ends it"
    )
    parser.add_argument(
        "--limit", metavar="N", type=limit, default=20, help="how many runs to list (default: 20)"
    )


def _cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="the run, or the id that 'submit' printed")


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


def _schedule_arguments(parser: ArgumentParser) -> None:
    parser.set_defaults(run="schedule:show_calendar")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    now = actions.add_parser("run", help="run an entry now")
    now.set_defaults(run="schedule:run_entry")
    now.add_argument("--here", action="store_true", help="run it in this process, even if a cluster runs")
    now.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")
    pause = actions.add_parser("pause", help="let an entry rest")
    pause.set_defaults(run="schedule:pause_entry")
    pause.add_argument(
        "--until",
        metavar="TIME",
        type=ending,
        help="when it ends by itself: 2026-12-01T08:00Z, or a length from now such as 3d "
        "(default: until it is resumed)",
    )
    resume = actions.add_parser("resume", help="end a pause")
    resume.set_defaults(run="schedule:resume_entry")
    for action in (now, pause, resume):
        action.add_argument("entry", metavar="ENTRY", help="its name, as 'strongroom schedule' shows it")
    add_reason_argument(pause)
    resume.add_argument("--reason", metavar="TEXT", default="", help="why; it goes on record")


COMMANDS = {
    "up": Command(
        _up_arguments,
        "up:start_cluster",
        "Runs the broker (embedded, unless the configuration names one), the worker pools and beat. A\n"
        "process that exits is started again. Ctrl-C stops in order: steps are finished or handed back.",
    ),
    "submit": Command(
        _submit_arguments,
        "submit:submit_run",
        "Exit code 0 means that the run is on record: it is performed even if the broker loses its\n"
        "messages. If this machine cannot reach the state database, the cluster has to answer within 15 s;\n"
        "otherwise the exit code is 70. If the broker is down, the command fails within seconds. From\n"
        "Python:\n"
        '  from tasks.backup import full_backup; full_backup.delay(policy="weekly-critical").wait()',
    ),
    "schedule": Command(
        _schedule_arguments,
        details="Without an action: every entry, the result of its last time, when it is due next, and what\n"
        "is overdue, paused or off, and why. Times are by the clock of each entry's time zone. If an entry\n"
        "is overdue, the exit code is that of a missing backup.\n"
        "'run' makes a run like any other: the cluster performs it, or without one this process. A\n"
        "pause ends by itself at its end; the newest slot that came meanwhile is made up for then.",
    ),
    "status": Command(
        _status_arguments,
        "runs:show_status",
        "--watch reads the record each second, and draws on the whole terminal what it says of each policy\n"
        "and target, of what runs, how fast and how long still, of the queues and of alerts. Into a pipe it\n"
        "writes a line for each change. q and Ctrl-C end it with exit code 0; the runs go on.",
    ),
    "cancel": Command(
        _cancel_arguments,
        "runs:cancel_run",
        "A step that is being performed stops when it next renews its lease, and leaves nothing half-made.\n"
        "If the run has ended already, it is shown and the exit code is 4. If a process still holds a step\n"
        "after a minute, it is named and the command fails: the run ends later.",
    ),
    "retry": Command(
        _retry_arguments,
        "runs:retry_run",
        "A failed run starts over, because its report removed what it had staged. A run whose process was\n"
        "killed continues where it stopped.",
    ),
    "repair": Command(
        _repair_arguments,
        "repair:repair_backups",
        "Repairs in this process; 'submit --repair' has the cluster do it. Without a name it lists the\n"
        "targets, records which replicas are missing, and repairs those and the ones on record as bad.\n"
        "--target and --all also compare manifests and the containers' names and sizes with the record.\n"
        "BACKUP reads the whole backup.",
    ),
}
