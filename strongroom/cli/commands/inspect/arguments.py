"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.cli.terminal.command import Command
from strongroom.cli.terminal.numbers import limit
from strongroom.model import Depth

DEPTHS = tuple(Depth)


def _file(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file",
        metavar="FILE",
        type=Path,
        help="a backup file, a directory that is a target, or the name of a configured target",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--backup", metavar="ID", help="which backup of a target (default: the newest)")
    which.add_argument("--policy", metavar="NAME", help="the newest backup of this policy")


def _test_decrypt_arguments(parser: ArgumentParser) -> None:
    _file(parser)
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)
    options.add_quarantine_argument(parser)
    options.add_legacy_argument(parser)


def _verify_backup_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        help="present (there, right size), digest (checksums and signatures; no key), opened "
        "(decrypted), compared (each value with its digest at capture), live (with the source, too); "
        "default: opened if a key is available, else digest",
    )
    _test_decrypt_arguments(parser)


LISTED = 50


def _catalog_arguments(parser: ArgumentParser) -> None:
    commands = parser.add_subparsers(dest="action", metavar="ACTION", parser_class=Parser)
    parser.set_defaults(action="list", policy=None, from_target=None, signer=[], limit=LISTED)
    listing = commands.add_parser("list", help="list the backups, newest first")
    listing.add_argument("--policy", metavar="NAME", help="only of this policy")
    options.add_target_argument(listing, default=" (default: the catalog of this installation)")
    options.add_signer_argument(listing)
    listing.add_argument("--limit", metavar="N", type=limit, default=LISTED, help="how many (default: 50)")
    again = commands.add_parser("rebuild", help="add every backup on a target to the catalog")
    again.set_defaults(run="catalog:rebuild_catalog")
    again.add_argument(
        "--from", metavar="TARGET", dest="target", required=True, help="its directory or configured name"
    )
    options.add_signer_argument(again)


def _catalog_work(arguments: Namespace) -> str:
    """Choose: a target is read directly, and needs no catalog."""
    return "catalog_on_target:list_there" if arguments.from_target else "catalog:list_backups"


def _replicas_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", nargs="?", help="only of this backup")


COMMANDS = {
    "verify-backup": Command(
        _verify_backup_arguments,
        "verify:verify_backup",
        "The answer names the depth, and promises nothing beyond it. For a configured target the catalog\n"
        "records the result, as after a verification on the cluster ('strongroom replicas').",
    ),
    "backup-info": Command(
        _file,
        "verify:show_info",
    ),
    "validate-backup-format": Command(
        _file,
        "verify:check_format",
    ),
    "test-decrypt": Command(
        _test_decrypt_arguments,
        "verify:test_decrypt",
    ),
    "catalog": Command(
        _catalog_arguments,
        _catalog_work,
        "The targets are the truth. The catalog can be rebuilt from any of them.",
    ),
    "replicas": Command(
        _replicas_arguments,
        "catalog:show_replicas",
        "A cell says how deep a replica was last read back, and when. BAD: missing or damaged. no answer:\n"
        "its target did not answer, so nothing is known of it. NOT LOCKED: whole, but could be removed too\n"
        "early. 'strongroom repair' corrects all three.",
    ),
}
