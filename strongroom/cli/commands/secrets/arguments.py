"""What the commands of this room take."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from strongroom.cli.parameters import Command
from strongroom.cli.shared import options
from strongroom.errors import UsageError

# -- arguments


def _list_arguments(parser: ArgumentParser) -> None:
    options.add_selection_arguments(parser)
    options.add_source_argument(parser)
    parser.add_argument(
        "--verify-clean",
        action="store_true",
        help="succeed only if there is no secret, and no earlier recovery left anything half-made",
    )
    _add_backup_arguments(parser)


def _add_backup_arguments(parser: ArgumentParser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--backup-file", metavar="FILE", type=Path, help="read this backup instead of the store"
    )
    options.add_target_argument(where)
    options.add_backup_arguments(parser)
    options.add_opening_arguments(parser)
    options.add_trust_arguments(parser)
    options.add_legacy_argument(parser)


def _get_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret")
    parser.add_argument("--show-value", action="store_true", help="print the value and nothing else")
    options.add_version_argument(parser, help="an older version of it (default: the newest)")
    _add_backup_arguments(parser)


def _set_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the secret; one that exists gets a new version")
    parser.add_argument("--type", metavar="T", help="what it is: password, api_key, certificate, …")
    parser.add_argument(
        "--tag", metavar="KEY=VALUE", action="append", default=[], help="repeatable; replaces all tags"
    )
    parser.add_argument("--expires", metavar="DATE", help="2027-01-31, or with a time: 2027-01-31T12:00:00Z")
    parser.add_argument("--rotate-every", metavar="TIME", help="90d, 12w or 1y")
    parser.add_argument(
        "--exact", action="store_true", help="keep a line feed at the end of what is piped in"
    )


def _import_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="PATH[:FORMAT]", help="a .env, JSON or JSONL file, or a directory of secret files"
    )
    parser.add_argument(
        "--overwrite-existing", action="store_true", help="add versions on top of what exists"
    )
    options.add_selection_arguments(parser)


def _delete_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("names", metavar="NAME", nargs="+", help="secrets to remove, with all their versions")
    parser.add_argument("--force", action="store_true", help="do not ask")


def _list_work(arguments: Namespace) -> str:
    """Choose: a file needs no targets, and the local store neither."""
    if not _names_backup(arguments):
        return "verify_clean:verify_clean" if arguments.verify_clean else "store:list_in_store"
    if arguments.source != options.LOCAL or arguments.verify_clean:
        raise UsageError("A backup is listed, or a source: --source and --verify-clean are for sources.")
    return "in_file:list_in_file" if arguments.backup_file is not None else "on_targets:list_on_targets"


def _get_work(arguments: Namespace) -> str:
    if not _names_backup(arguments):
        return "store:get_from_store"
    return "in_file:get_from_file" if arguments.backup_file is not None else "on_targets:get_from_targets"


def _names_backup(arguments: Namespace) -> bool:
    return arguments.backup_file is not None or arguments.from_target is not None


# -- arguments


def _rotate_secret_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", nargs="*", help="a secret's full name at its source")
    parser.add_argument(
        "--source", metavar="NAME", help="the configured source that has them (default: the only one)"
    )
    options.add_selection_arguments(parser)
    parser.add_argument("--reason", metavar="TEXT", default="", help="why; it goes on record")
    parser.add_argument(
        "--incident",
        metavar="ID",
        default="",
        help="on record with this incident, once for it; without a name: all secrets that it exposed",
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--dry-run",
        action="store_true",
        help="show which rotator each secret has and what it will do, and stop",
    )
    how.add_argument("--show", metavar="RUN", help="show the result of an earlier rotation, secret by secret")
    how.add_argument("--cluster", action="store_true", help="hand it to the cluster's recover workers")
    parser.add_argument("--force", action="store_true", help="do not ask first")


COMMANDS = {
    "list": Command(
        _list_arguments,
        _list_work,
    ),
    "get": Command(
        _get_arguments,
        _get_work,
    ),
    "set": Command(
        _set_arguments,
        "write:set_secret",
        "The value comes from stdin, or from a hidden prompt. Earlier versions are kept.",
    ),
    "secrets import": Command(
        _import_arguments,
        "write:import_secrets",
        "Everything is imported, or nothing.",
    ),
    "secrets delete": Command(
        _delete_arguments,
        "write:delete_secrets",
    ),
    "secrets rotate": Command(
        _rotate_secret_arguments,
        "rotate_secret:rotate_secret",
        "Each secret is given a new value by the first of [rotators] that is for it. Strongroom writes a\n"
        "new version, reads it back, and says what a person must still do. If a program refuses the new\n"
        "value, the former one is made current again. A secret without a rotator is named and left.\n"
        "If the command is interrupted, the same command goes on where it stopped. The values are printed\n"
        "nowhere. The exit code is 0 only if every secret has a new value.",
    ),
}
