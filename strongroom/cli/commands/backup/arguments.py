"""What the commands of this room take."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from strongroom.cli.parameters import Command
from strongroom.cli.shared import options
from strongroom.errors import UsageError

# -- arguments


def _backup_arguments(parser: ArgumentParser) -> None:
    where = parser.add_argument_group("where to")
    where.add_argument("file", metavar="FILE", type=Path, nargs="?", help="the file to write")
    where.add_argument("--output", metavar="FILE", type=Path, help="the same, as an option")
    where.add_argument(
        "--policy",
        metavar="NAME",
        help="instead of FILE: back up by this policy, to its targets",
    )
    options.add_cluster_arguments(where)
    what = parser.add_argument_group("what")
    kind = what.add_mutually_exclusive_group()
    kind.add_argument(
        "--metadata-only", action="store_true", help="names, types, tags and dates (the default)"
    )
    kind.add_argument("--include-values", action="store_true", help="values too; always sealed")
    what.add_argument("--encrypt-backup", action="store_true", help="seal a metadata-only backup too")
    # All of this is always in a backup. Command lines that ask for it stay valid.
    for option in ("--include-metadata", "--include-expiration", "--include-rotation-schedule"):
        what.add_argument(option, action="store_true", help=SUPPRESS)
    options.add_source_argument(what)
    options.add_selection_arguments(parser)
    options.add_recipient_arguments(parser)
    parser.add_argument(
        "--force", action="store_true", help="do not ask first, and replace the file if it exists"
    )


def _backup_work(arguments: Namespace) -> str:
    """Choose: a plain document needs no database, and a policy needs what drives runs."""
    if arguments.policy is not None:
        return "sealed:back_up_there" if arguments.cluster else "sealed:back_up"
    if arguments.cluster:
        raise UsageError("The cluster backs up by a policy.", hint="Say --policy NAME.")
    sealing = (
        arguments.include_values,
        arguments.encrypt_backup,
        arguments.recipient,
        arguments.passphrase_file,
    )
    return "sealed:back_up_to_file" if any(sealing) else "metadata:write_metadata"


def named_file(arguments: Namespace) -> Path:
    """Return the file to write: FILE or --output, one of them."""
    given = {path for path in (arguments.file, arguments.output) if path is not None}
    if len(given) != 1:
        what = "Two files are named" if given else "Where should the backup go?"
        raise UsageError(what, hint="Name one file, or a policy with --policy.")
    return Path(given.pop())


# -- arguments


def _emergency_backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("policy", metavar="POLICY", help="the policy whose targets are the offline media")
    parser.add_argument(
        "--status", action="store_true", help="only say whether a backup is due, and which media are missing"
    )
    parser.add_argument("--wait", action="store_true", help="wait until every medium is mounted")
    parser.add_argument(
        "--force", action="store_true", help="do not ask before values are sealed onto the media"
    )


def _recovery_kit_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--output", metavar="FILE", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")


def _escrow_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the file to write, or with --open to read")
    parser.add_argument("--open", action="store_true", help="restore it into an empty state directory")
    parser.add_argument("--force", action="store_true", help="replace the file to write if it exists")
    options.add_recipient_argument(parser)
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


COMMANDS = {
    "backup": Command(
        _backup_arguments,
        _backup_work,
        "Without --include-values only metadata is written, as plain JSON with a digest. Values are always\n"
        "sealed and never written in plain text. A full backup asks first; --force answers yes. A policy's\n"
        "backup is made by this process; with --cluster by the workers, even if the broker loses its\n"
        "messages.",
    ),
    "emergency backup": Command(
        _emergency_backup_arguments,
        "emergency:make_emergency_backup",
        "Nothing is captured before every medium of the policy is mounted. The recovery program, the\n"
        "format, a runbook, the recovery kit and checksums are written next to the backup.",
    ),
    "emergency kit": Command(
        _recovery_kit_arguments,
        "kit:write_recovery_kit",
        "The page says who can open what, where it is, whose signature to trust and what to type.",
    ),
    "emergency escrow": Command(
        _escrow_arguments,
        "emergency:seal_or_open",
        "An escrow rebuilds a lost machine: a copy of the store's database can be read again, and backups\n"
        "made before are still trusted.",
    ),
}
