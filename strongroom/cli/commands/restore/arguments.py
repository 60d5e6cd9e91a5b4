"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _ArgumentGroup
from pathlib import Path

from strongroom.cli import parameters
from strongroom.cli.parameters import Command
from strongroom.cli.parser import Parser
from strongroom.cli.shared import options
from strongroom.errors import UsageError
from strongroom.operations.restore.scratch import DrillScope

# -- arguments


_DRY = (
    "change nothing; say what would happen to each secret, which rights are missing, what would be lost and "
    "how long it takes"
)
_PLAN_OUT = "only plan: write into FILE (mode 0600) what would be done, for --plan; it holds names"
_PLAN_RECIPIENT = "seal that file to this key: a configured one, a public key or a key file; repeatable"
_ALL_NAMES = "name every secret, however many (--json always does)"


def _place_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("where to")
    group.add_argument(
        "--to",
        metavar="SOURCE",
        default=options.LOCAL,
        help="where to restore into: 'local' (the default), or the name of a configured source",
    )
    group.add_argument("--relocate", metavar="FROM=TO", help=options.RELOCATE)
    group.add_argument(
        "--to-file",
        metavar="FILE",
        type=Path,
        help="instead: seal what is chosen into a new single-file backup, for --recipient",
    )
    options.add_recipient_argument(group)


def _restore_arguments(parser: ArgumentParser) -> None:
    options.add_restore_source_arguments(parser)
    options.add_selection_arguments(parser)
    parser.add_argument("--secret-name", metavar="NAME", help="restore this one secret")
    options.add_version_argument(
        parser,
        help="with --secret-name: the version of it to restore, whose value becomes a new version "
        "(default: the newest)",
    )
    parser.add_argument(
        "--full-restore", action="store_true", help="restore everything except what --exclude names"
    )
    parser.add_argument(
        "--fill-from-earlier",
        action="store_true",
        help="also restore what the newest backup lacks and earlier ones have, each with its newest value",
    )
    _place_arguments(parser)
    _planning_arguments(parser).add_argument(
        "--plan",
        metavar="FILE",
        type=Path,
        help="do just what this plan says; what changed since is left, and named",
    )
    parser.add_argument(
        "--overwrite-existing",
        "--confirm-overwrite",
        action="store_true",
        help="also replace what differs (an undo file is written first)",
    )
    parser.add_argument(
        "--verify-after-restore", action="store_true", help="compare everything once more at the end"
    )
    parser.add_argument("--dry-run", action="store_true", help=_DRY)
    parser.add_argument("--all-names", action="store_true", help=_ALL_NAMES)
    parser.add_argument(
        "--force",
        action="store_true",
        help="do not ask before writing into another source than the local store, nor before a value that "
        "others know is restored; replace the FILE of --plan-out or --to-file",
    )
    options.add_cluster_arguments(parser)
    parser.add_argument(
        "--validate",
        action="store_true",
        help="with --cluster: check the worker's host first, restore all, and check the secrets afterwards",
    )


def _restore_work(arguments: Namespace) -> str:
    """Choose, once the words go together: one secret, or many, here or by the cluster."""
    if arguments.secret_name is not None:
        options.refuse_beside(arguments, _OF_MANY, "--secret-name")
    elif arguments.version is not None:
        raise UsageError("--version is of one secret: it goes with --secret-name.")
    if arguments.cluster:
        return "on_cluster:restore_there"
    if arguments.validate:
        raise UsageError(
            "--validate goes with --cluster.",
            hint="Here: 'strongroom check secrets --production' afterwards.",
        )
    return "restore:restore_secrets" if arguments.secret_name is None else "restore:restore_secret"


_OF_MANY = (
    *("filter_tag", "include", "exclude", "full_restore", "fill_from_earlier", "to_file", "plan"),
    *("verify_after_restore", "all_names"),
)


def _planning_arguments(parser: ArgumentParser) -> _ArgumentGroup:
    group = parser.add_argument_group("plan first")
    group.add_argument("--plan-out", metavar="FILE", type=Path, help=_PLAN_OUT)
    group.add_argument("--plan-recipient", metavar="KEY", action="append", default=[], help=_PLAN_RECIPIENT)
    return group


def _undo_arguments(parser: ArgumentParser) -> None:
    options.add_cluster_arguments(parser)
    parser.add_argument("restored", metavar="RESTORE", nargs="?", help="its id, or that of its run")
    parser.add_argument("--list", action="store_true", help="list the restores on record")
    options.add_selection_arguments(parser)
    parser.add_argument(
        "--dry-run", action="store_true", help="change nothing; say what would happen to each secret"
    )
    parser.add_argument("--all-names", action="store_true", help=_ALL_NAMES)
    parser.add_argument(
        "--force",
        action="store_true",
        help="do not ask before secrets are replaced and removed elsewhere than in the local store",
    )
    options.add_opening_arguments(parser)
    options.add_signer_argument(parser)


def _undo_work(arguments: Namespace) -> str:
    return "on_cluster:undo_there" if arguments.cluster else "undo:undo_restore"


def _restore_snapshot_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("what to restore from")
    where = group.add_mutually_exclusive_group(required=True)
    where.add_argument(
        "--backup-file",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="a single-file backup, or all undo files of a restore",
    )
    options.add_target_argument(where)
    options.add_backup_arguments(group)
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)
    _server_arguments(parser)


def _server_arguments(parser: ArgumentParser) -> None:
    group = parser.add_argument_group("which server to overwrite")
    group.add_argument("--vault", metavar="NAME", help="one under [vaults] in the configuration")
    group.add_argument("--address", metavar="URL", help="or its address")
    group.add_argument(
        "--token-file", metavar="FILE", type=Path, help="with --address: the token's file (0600)"
    )
    group.add_argument(
        "--ca-file", metavar="FILE", type=Path, help="with --address: the certificate authority's file"
    )
    group.add_argument(
        "--foreign-keys",
        action="store_true",
        help="the snapshot has other unseal keys than the server, which is sealed afterwards",
    )
    group.add_argument(
        "--confirm",
        metavar="CLUSTER@INDEX",
        help="cluster and index, instead of typing them on a terminal",
    )
    group.add_argument("--no-way-back", action="store_true", help="do not save what is there now")
    group.add_argument("--check", action="store_true", help="only check the snapshot; needs no server")


# -- arguments


def _local_arguments(parser: ArgumentParser) -> None:
    options.add_restore_source_arguments(parser)
    parser.add_argument("--secret-name", metavar="NAME", help="rehearse the recovery of one secret")
    options.add_selection_arguments(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing: open everything in memory, and say what a restore would change",
    )
    parser.add_argument(
        "--to",
        metavar="SOURCE",
        default=options.LOCAL,
        help="what a recovery would restore into: 'local' (the default) or a configured source. Nothing is "
        "written there. --dry-run compares with it, and its rate limit counts",
    )
    parser.add_argument(
        "--scratch",
        metavar="DIR",
        type=Path,
        help="where to put the scratch store (default: in the state directory)",
    )
    parser.add_argument(
        "--objective",
        metavar="TIME",
        type=parameters.duration,
        help="how long the recovery may take, such as 90s, 15m or 2h (default: 15m for one secret, 30m for a "
        "category, 2h for everything)",
    )
    parser.add_argument(
        "--report", metavar="FILE", type=Path, help="write the result into this file, as JSON"
    )
    parser.add_argument("--force", action="store_true", help="replace the report if it exists")


def _drill_arguments(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    for drill, what in _DRILLS.items():
        added = actions.add_parser(drill.value, help=what)
        added.set_defaults(run="drill:run_drill")
        _add_drilling(added, drill)
    listing = actions.add_parser("list", help="list the reports that lie on the targets")
    listing.set_defaults(run="drill:list_drills")
    show = actions.add_parser("show", help="show a report, and check its signature and its page")
    show.set_defaults(run="drill:show_drill")
    show.add_argument("drill", metavar="RUN", help="the run of the drill")
    show.add_argument("--output", metavar="FILE", type=Path, help="write it to a file: .html or .json")
    show.add_argument("--force", action="store_true", help="replace the file if it exists")
    for reading in (listing, show):
        options.add_signer_argument(reading)
        reading.add_argument(
            "--from-target", metavar="NAME", action="append", help="only this target; repeatable"
        )


_DRILLS = {
    DrillScope.SINGLE: "rehearse the recovery of one secret",
    DrillScope.CATEGORY: "rehearse the recovery of every secret with a tag",
    DrillScope.FULL: "rehearse the recovery of everything",
    DrillScope.FAILOVER: "rehearse the recovery of everything without one of the regions",
    DrillScope.EMERGENCY: "rehearse the recovery of everything from the emergency medium",
}
_TARGET = {
    DrillScope.FAILOVER: "cut off the region of this target (default: drill.cut_off, or the policy's first)",
}


def _add_drilling(parser: ArgumentParser, drill: DrillScope) -> None:
    parser.add_argument("--policy", metavar="NAME", help="the policy to recover (default: drill.policy)")
    if drill is DrillScope.SINGLE:
        parser.add_argument("--secret", metavar="NAME", help="which secret (default: a random one)")
    if drill is DrillScope.CATEGORY:
        parser.add_argument(
            "--tag",
            metavar="KEY=VALUE",
            action="append",
            default=[],
            help="the tag; repeatable, all have to match (default: a random one)",
        )
    parser.add_argument("--target", metavar="NAME", help=_TARGET.get(drill, "read from this target alone"))
    parser.add_argument(
        "--into",
        metavar="PLACE",
        help="'local', or a configured Vault server on which a mount is made (default: drill.into)",
    )
    parser.add_argument(
        "--random-within",
        metavar="DAYS",
        type=parameters.limit,
        help="take a random backup of so many days (default: the newest backup)",
    )
    parser.add_argument(
        "--objective",
        metavar="TIME",
        type=parameters.duration,
        help="how long the recovery may take, such as 15m or 2h (default: drill.objective_seconds)",
    )
    options.add_cluster_arguments(parser)


COMMANDS = {
    "restore": Command(
        _restore_arguments,
        _restore_work,
        "Only backups of a trusted signer are restored: of this installation, of one under trust.signers\n"
        "in the configuration, or of --signer. Every secret is read back and compared. What is overwritten\n"
        "is kept. If a secret cannot be restored, it is named at the end and the others are restored.",
    ),
    "restore undo": Command(_undo_arguments, _undo_work),
    "restore snapshot": Command(
        _restore_snapshot_arguments,
        "snapshot:replace_server",
        "Only a backup of a trusted signer is used. The whole snapshot is checked before anything is sent.\n"
        "What the server holds now is saved in undo files. You have to type the cluster's name and the\n"
        "snapshot's index; no option replaces that.",
    ),
    "drill": Command(
        _drill_arguments,
        details=(
            "Picks a backup, proves that this host could recover, restores into a place of its own,\n"
            "compares every value with what was backed up, removes the place again and compares with the\n"
            "source. The signed report and its page (HTML) are put on the policy's targets. A drill that\n"
            "could not be carried out has failed. 'reports check FILE' checks a report without a network."
        ),
    ),
    "drill local": Command(
        _local_arguments,
        "rehearsal:rehearse_recovery",
        "Restores into a scratch store that is sealed under a key of its own. Compares every version of\n"
        "every secret with the backup, which is read once more. Then removes the store. With --dry-run\n"
        "nothing is written. The recovery has to take no longer than the objective of its scope, or\n"
        "--objective.",
    ),
}
