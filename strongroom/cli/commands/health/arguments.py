"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.model import Depth

DEPTHS = (Depth.DIGEST, Depth.OPENED, Depth.COMPARED)


CHECKS = {
    "accessibility": "targets answer and have it whole, in as many places and as long as the policy demands",
    "integrity": "every byte is the one that was written, of a trusted signer; no fewer secrets than before",
    "encryption": "sealed for exactly those whom the policy names now; no key withdrawn, unproven or too old",
}


def _backup_health_check_arguments(parser: ArgumentParser) -> None:
    for name, what in CHECKS.items():
        parser.add_argument(
            f"--check-{name}", dest="checks", action="append_const", const=name, default=[], help=what
        )
    parser.add_argument(
        "--policy", metavar="NAME", action="append", default=[], help="only of this policy; repeatable"
    )
    parser.add_argument(
        "--target", metavar="NAME", action="append", default=[], help="only on this target; repeatable"
    )
    parser.add_argument(
        "--all", action="store_true", help="every backup that is kept, files too, not only the newest"
    )
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        default=Depth.DIGEST,
        help="how deep --check-integrity reads: digest (the default; no key), opened, compared",
    )
    options.add_further_opening_arguments(parser)


def _health_advanced_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", metavar="N", type=limit, default=30, help="the window of the key metrics (default: 30)"
    )


def _backup_alerts_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--email",
        metavar="ADDRESS",
        action="append",
        default=[],
        help="who is told, in place of alerts.email; may be repeated",
    )
    parser.add_argument(
        "--threshold-age",
        metavar="AGE",
        help="how long after its time a verified backup may be missing, such as 48h",
    )
    parser.add_argument("--all", action="store_true", help="tell all that is wrong, whatever was told before")
    parser.add_argument("--dry-run", action="store_true", help="send nothing; say what would be told")


COMMANDS = {
    "backup-health-check": Command(
        _backup_health_check_arguments,
        "health:check_backups",
        "The newest backup of each policy, on every target at once, without a broker; without --check-… all\n"
        "three. What is found of a replica is put on record, as by verify-backup; nothing else is written.\n"
        "Exit code 0 only if nothing is wrong and all could be looked at; else that of the worst finding.",
    ),
    "health-advanced": Command(
        _health_advanced_arguments,
        "health:check_installation",
        "Configuration, state, ledger, store, cluster, runs, slots, backups, drills, keys, media, disks,\n"
        "files and clock, in one look. No container is read, and nothing is written. Exit code 0 only if\n"
        "nothing is wrong and all could be looked at; else that of the worst finding.",
    ),
    "backup-alerts": Command(
        _backup_alerts_arguments,
        "alerts:report_alerts",
        "For cron, on any host that reaches the targets: it rests on no beat, broker or worker. Ages come\n"
        "from the record and from what really lies on the targets. Exit code 0: nothing is wrong; 70:\n"
        "warnings alone; 40: a target was not looked at; else that of the worst alert: see "
        "docs/reference/alerts.md.",
    ),
}
