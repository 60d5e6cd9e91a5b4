"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.model import Depth


def _up_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--flower", action="store_true", help="run the task monitor too; it asks for a login")
    parser.add_argument(
        "--ephemeral",
        action="store_true",
        help="use a stand-in for the broker that keeps no queue over a restart",
    )
    parser.add_argument(
        "--with-recover",
        action="store_true",
        help="run the recover workers too: they restore and rotate, hold what opens, and normally rest",
    )


def _submit_arguments(parser: ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("policy", metavar="POLICY", nargs="?", help="back up by this policy")
    what.add_argument("--verify", metavar="BACKUP", help="read a backup back from every target")
    what.add_argument("--repair", metavar="BACKUP", help="bring a backup's bad replicas up again")
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


def _status_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="a run, or the id that submitting gave")
    parser.add_argument("--follow", action="store_true", help="wait until it has ended, and show it live")
    parser.add_argument(
        "--limit", metavar="N", type=limit, default=20, help="how many runs to list (default: 20)"
    )


def _cancel_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="RUN", help="the run, or the id that submitting gave")


def _retry_arguments(parser: ArgumentParser) -> None:
    _cancel_arguments(parser)
    parser.add_argument(
        "--here", action="store_true", help="drive it in this process, even if a cluster runs"
    )


def _repair_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backup",
        metavar="BACKUP",
        nargs="?",
        help="this backup (default: each that lacks something)",
    )
    parser.add_argument(
        "--target",
        metavar="NAME",
        action="append",
        default=[],
        help="look at all that lies on this target, and mend it; repeatable",
    )
    parser.add_argument("--all", action="store_true", help="the same for every target")


COMMANDS = {
    "up": Command(
        _up_arguments,
        "up:start_cluster",
        "Broker (embedded, unless the configuration names one), worker pools and beat. What exits is\n"
        "started again; Ctrl-C stops in order: what runs is finished or handed back.",
    ),
    "submit": Command(
        _submit_arguments,
        "submit:submit_run",
        "Exit code 0 means that the run is on record: it is performed even if the broker loses its\n"
        "messages. Where this machine does not reach the state database, the cluster has to answer; if it\n"
        "does not within 15 s, the exit code is 70. Fails within seconds if the broker is down.\n"
        "From Python:\n"
        '  from tasks.backup import full_backup; full_backup.delay(policy="weekly-critical").wait()',
    ),
    "status": Command(
        _status_arguments,
        "runs:show_status",
    ),
    "cancel": Command(
        _cancel_arguments,
        "runs:cancel_run",
        "What is being worked on stops at its next renewal; nothing half-made is left. A run that has\n"
        "ended already is shown, and the exit code is 49: nothing was cancelled. If a process has not let\n"
        "go of a step after a minute, it is named and the exit code is 112: the run ends later.",
    ),
    "retry": Command(
        _retry_arguments,
        "runs:retry_run",
        "One that failed starts over: its report had swept what it staged. One whose process was killed\n"
        "goes on where it stopped.",
    ),
    "repair": Command(
        _repair_arguments,
        "repair:repair_backups",
        "In this process; 'submit --repair' has the cluster do it. Without a name the targets are listed:\n"
        "what one no longer shows is put on record and mended with what is on record as bad. --target and\n"
        "--all also hold each manifest and the containers' names and sizes to the record. BACKUP reads all\n"
        "of one backup.",
    ),
}
