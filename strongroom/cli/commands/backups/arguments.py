"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli import parameters
from strongroom.cli.parameters import Command, Nothing, Word, argument, ending, limit, one_of, option
from strongroom.cli.shared import options
from strongroom.model import Depth

# -- arguments


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
    return "catalog:list_there" if arguments.from_target else "catalog:list_backups"


def _replicas_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("backup", metavar="BACKUP", nargs="?", help="only of this backup")


# -- arguments


def _find_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "pattern", metavar="NAME", nargs="?", default="*", help="a secret's name, or a pattern like 'prod/*'"
    )
    parser.add_argument(
        "--filter-tag",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="only secrets with this tag; repeatable, all have to match",
    )
    options.add_version_argument(parser, help="only where this version of it is")
    _add_backups_arguments(parser)


def _history_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret")
    _add_backups_arguments(parser)


def _add_backups_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("in which backups")
    group.add_argument("--policy", metavar="NAME", help="only those of this policy")
    group.add_argument(
        "--at", metavar="DATE", type=parameters.moment, help="only those made by then, such as 2026-07-20"
    )
    group.add_argument(
        "--no-index", action="store_true", help="believe no index of names: read every backup itself"
    )
    _add_reading_arguments(parser)


def _diff_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "backups",
        metavar="BACKUP",
        nargs="*",
        help="the earlier backup, and a later one or 'live', its source now (default: the newest, and live)",
    )
    parser.add_argument(
        "--policy", metavar="NAME", help="where no backup is named: the newest of this policy"
    )
    parser.add_argument(
        "--at",
        metavar="DATE",
        type=parameters.moment,
        help="where no backup is named: the newest made by then, such as 2026-07-20",
    )
    parser.add_argument(
        "--source", metavar="SPEC", help="what 'live' means (default: the backup's own source)"
    )
    options.add_quarantine_argument(parser)
    _add_reading_arguments(parser)


def _add_reading_arguments(parser: ArgumentParser) -> None:
    options.add_target_argument(parser, default=" (default: all configured)")
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)


# -- what goes, and what stays


class PruneBackups(Struct, frozen=True, kw_only=True):
    """Which backups a prune is about."""

    policy: Annotated[str | None, option("only the backups of this policy", metavar="NAME")] = None
    dry_run: Annotated[bool, option("show which rule keeps or drops each, and stop")] = False


class UndeleteBackup(Struct, frozen=True, kw_only=True):
    """Which backup is not deleted after all, and why."""

    backup: Annotated[str, argument("the backup that is marked", metavar="BACKUP")]
    reason: options.Reason


@one_of(required=True)
class HoldSubject(Struct, frozen=True, kw_only=True):
    """What a hold is about."""

    backup: Annotated[str | None, option("this backup, and what a rotation makes of it", metavar="ID")] = None
    tag: Annotated[str | None, option("every backup that may hold a secret with this tag", metavar="K=V")] = (
        None
    )
    policy: Annotated[str | None, option("every backup of this policy", metavar="NAME")] = None


class AddHold(Struct, frozen=True, kw_only=True):
    """What is held, why and how long."""

    subject: HoldSubject
    reason: options.Reason
    until: Annotated[
        float | None,
        option(
            "when it ends by itself: 2027-11-26, to the end of that day in UTC, 2027-11-26T08:00Z, or a "
            "length from now such as 90d (default: until it is lifted)",
            metavar="TIME",
            read=ending,
        ),
    ] = None


class ReleaseHold(Struct, frozen=True, kw_only=True):
    """Which hold is lifted, and why."""

    subject: HoldSubject
    reason: options.Reason


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
    "backups find": Command(
        _find_arguments,
        "find:find_secrets",
        "Names lie sealed, so looking takes a key that opens the index of names beside the backups, or else\n"
        "the backups; no value is decrypted. Without an index, one name costs a few reads in each backup,\n"
        "and a pattern or a tag all the names of each.",
    ),
    "backups history": Command(
        _history_arguments,
        "history:show_history",
        "Names lie sealed, so looking takes a key that opens the backups. No value is shown.",
    ),
    "backups diff": Command(
        _diff_arguments,
        "history:show_differences",
        "Two backups are compared by the keyed digests in them, and no value is decrypted. With 'live', and\n"
        "where the digests are of two keys, values are compared within this process. None is ever shown.",
    ),
    "backups prune": Command(
        PruneBackups,
        "retention:prune_backups",
        "What no rule keeps is marked on every target, and deleted prune.grace_days later: until\n"
        "then 'strongroom backups undelete' keeps it. 'strongroom schedule run prune' has the prune workers "
        "do it.\n"
        "A policy's keep, minimum_retention_days and minimum_retention_count say what stays. The newest\n"
        "verified backup of a policy always stays, and whatever no newer verified backup covers.",
    ),
    "backups undelete": Command(
        UndeleteBackup,
        "retention:undelete_backup",
        "It takes the mark back on every target, and holds the backup: else it would be marked again.",
    ),
    "backups hold": Command(
        Nothing,
        words={
            "add": Word(
                "let nothing remove a backup, or those of a tag or policy", AddHold, "retention:add_hold"
            ),
            "release": Word("lift a hold", ReleaseHold, "retention:release_hold"),
            "list": Word("show the holds that stand, and why", Nothing, "retention:list_holds"),
        },
        details=(
            "A hold is a signed mark on each target: every host respects it, and it outlives the database.\n"
            "Nothing that is held is pruned, shredded, or removed after a rotation."
        ),
    ),
}
