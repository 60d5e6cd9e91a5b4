"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

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


def _verify_arguments(parser: ArgumentParser) -> None:
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--depth",
        type=Depth,
        choices=DEPTHS,
        metavar="DEPTH",
        help="present (there, right size), digest (checksums and signatures; no key), opened "
        "(decrypted), compared (each value with its digest at capture), live (with the source, too); "
        "default: opened if a key is available, else digest",
    )
    how.add_argument(
        "--opens", action="store_true", help="say which key opens all of it; nothing goes on record"
    )
    how.add_argument("--structure", action="store_true", help="check its structure alone, without any key")
    options.add_cluster_arguments(parser)
    _file(parser)
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)
    options.add_quarantine_argument(parser)
    options.add_legacy_argument(parser)


def _verify_work(arguments: Namespace) -> str:
    """Choose: the cluster reads a backup by its id, from every target."""
    if arguments.cluster:
        return "on_cluster:verify_there"
    if arguments.structure:
        return "verify:check_format"
    return "verify:test_decrypt" if arguments.opens else "verify:verify_backup"


LISTED = 50


def _list_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--policy", metavar="NAME", help="only of this policy")
    options.add_target_argument(parser, default=" (default: the catalog of this installation)")
    options.add_signer_argument(parser)
    parser.add_argument("--limit", metavar="N", type=limit, default=LISTED, help="how many (default: 50)")


def _rebuild_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from", metavar="TARGET", dest="target", required=True, help="its directory or configured name"
    )
    options.add_signer_argument(parser)


def _list_work(arguments: Namespace) -> str:
    """Choose: a target is read directly, and needs no catalog."""
    return "catalog_on_target:list_there" if arguments.from_target else "catalog:list_backups"


def _replicas_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", nargs="?", help="only of this backup")


COMMANDS = {
    "backups list": Command(
        _list_arguments,
        _list_work,
    ),
    "backups replicas": Command(
        _replicas_arguments,
        "catalog:show_replicas",
        "A cell says how deep a replica was last read back, and when. BAD: missing or damaged. no answer:\n"
        "its target did not answer, so nothing is known of it. NOT LOCKED: whole, but could be removed too\n"
        "early. 'strongroom backups repair' corrects all three.",
    ),
    "backups show": Command(
        _file,
        "verify:show_info",
    ),
    "backups verify": Command(
        _verify_arguments,
        _verify_work,
        "The answer names the depth, and promises nothing beyond it. For a configured target the catalog\n"
        "records the result, as after a verification on the cluster ('strongroom backups replicas').\n"
        "With --cluster, FILE is the id of a backup, which is read back from every target.",
    ),
    "backups rebuild": Command(
        _rebuild_arguments,
        "catalog:rebuild_catalog",
        "The targets are the truth. The catalog can be rebuilt from any of them.",
    ),
}
