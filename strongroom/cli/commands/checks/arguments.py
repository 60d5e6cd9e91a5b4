"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser

from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.model import Depth

DEPTHS = (Depth.DIGEST, Depth.OPENED, Depth.COMPARED)


CHECKS = {
    "accessibility": "targets answer, and hold all of it in as many places and as long as the policy demands",
    "integrity": "every byte is the one that a trusted signer wrote; no fewer secrets than before",
    "encryption": "sealed to exactly the policy's recipients of now; no key withdrawn, unproven or too old",
}


def _backups_arguments(parser: ArgumentParser) -> None:
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


def _installation_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--days", metavar="N", type=limit, default=30, help="the window of the key metrics (default: 30)"
    )


def _no_arguments(_: ArgumentParser) -> None:
    """Take nothing."""


COMMANDS = {
    "check all": Command(
        _no_arguments,
        "everything:check_all",
        "It reads the newest backups whole and the live secrets, and writes a test object on each target:\n"
        "before a drill or an audit, not each night. What needs a passphrase asks for it. The exit code is\n"
        "that of the first look that is not well.",
    ),
    "check backups": Command(
        _backups_arguments,
        "health:check_backups",
        "Checks the newest backup of each policy, on all targets at once, without a broker. Without\n"
        "--check-… it runs all three checks. It records the result for each replica, as backups verify\n"
        "does, and writes nothing else. Exit code 0: nothing is wrong and everything could be checked.\n"
        "Otherwise it is that of the worst finding.",
    ),
    "check": Command(
        _installation_arguments,
        "health:check_installation",
        "Checks configuration, state, ledger, store, cluster, targets, runs, slots, backups, drills, keys,\n"
        "media, disks, files and clock. It asks each target whether it answers, reads no container and\n"
        "writes nothing. Exit code 0: nothing is wrong and everything could be checked. Otherwise it is\n"
        "that of the worst finding.",
    ),
}
