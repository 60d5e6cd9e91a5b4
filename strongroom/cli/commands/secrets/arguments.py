"""What the commands of this room take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Struct

from strongroom.cli.parameters import Command, argument, one_of, option, version_number
from strongroom.cli.shared import options
from strongroom.errors import UsageError


@one_of()
class StoredIn(options.FileOrTargets, frozen=True, kw_only=True):
    """A backup that is read instead of a source; without one, the source is."""

    backup_file: Annotated[Path | None, option("read this backup instead of the store", metavar="FILE")] = (
        None
    )
    from_target: options.FromTarget = ()

    @property
    def is_backup(self) -> bool:
        """Tell whether a backup is meant."""
        return bool(self.backup_file or self.from_target)


class ReadFrom(options.BackupSource, frozen=True, kw_only=True):
    """A backup that is read instead of a source, where it lies and what opens it."""

    where: StoredIn = StoredIn()
    trust: options.ReaderTrustOptions = options.ReaderTrustOptions()


class ListSecrets(Struct, frozen=True, kw_only=True):
    """List the secrets, never their values."""

    selected: options.SelectionOptions = options.SelectionOptions()
    source: options.SourceName = options.LOCAL
    verify_clean: Annotated[
        bool, option("succeed only if there is no secret, and no earlier recovery left anything half-made")
    ] = False
    origin: ReadFrom = ReadFrom()


class GetSecret(Struct, frozen=True, kw_only=True):
    """Show one secret, from the store or from a backup."""

    name: Annotated[str, argument("the secret", metavar="NAME")]
    show_value: Annotated[bool, option("print the value and nothing else")] = False
    version: Annotated[
        int | None, option("an older version of it (default: the newest)", metavar="N", read=version_number)
    ] = None
    origin: ReadFrom = ReadFrom()


class SetSecret(Struct, frozen=True, kw_only=True):
    """Store a secret; its value comes from stdin or a hidden prompt."""

    name: Annotated[str, argument("the secret; one that exists gets a new version", metavar="NAME")]
    type: Annotated[str | None, option("what it is: password, api_key, certificate, …", metavar="T")] = None
    tag: Annotated[tuple[str, ...], option("repeatable; replaces all tags", metavar="KEY=VALUE")] = ()
    expires: Annotated[
        str | None, option("2027-01-31, or with a time: 2027-01-31T12:00:00Z", metavar="DATE")
    ] = None
    rotate_every: Annotated[str | None, option("90d, 12w or 1y", metavar="TIME")] = None
    exact: Annotated[bool, option("keep a line feed at the end of what is piped in")] = False


class ImportSecrets(Struct, frozen=True, kw_only=True):
    """Store the secrets of a file or directory."""

    file: Annotated[
        str, argument("a .env, JSON or JSONL file, or a directory of secret files", metavar="PATH[:FORMAT]")
    ]
    overwrite_existing: Annotated[bool, option("add versions on top of what exists")] = False
    selected: options.SelectionOptions = options.SelectionOptions()


class DeleteSecrets(Struct, frozen=True, kw_only=True):
    """Remove secrets from the store."""

    names: Annotated[tuple[str, ...], argument("secrets to remove, with all their versions", metavar="NAME")]
    force: Annotated[bool, option("do not ask")] = False


@one_of()
class RotationWay(Struct, frozen=True, kw_only=True):
    """Whether secrets are rotated, and by whom, or only looked at."""

    dry_run: Annotated[bool, option("show which rotator each secret has and what it will do, and stop")] = (
        False
    )
    show: Annotated[
        str | None, option("show the result of an earlier rotation, secret by secret", metavar="RUN")
    ] = None
    cluster: Annotated[bool, option("hand it to the cluster's recover workers")] = False


class RotateSecrets(Struct, frozen=True, kw_only=True):
    """Give secrets new values, after a leak or in good time."""

    name: Annotated[tuple[str, ...], argument("a secret's full name at its source", metavar="NAME")] = ()
    source: Annotated[
        str | None, option("the configured source that has them (default: the only one)", metavar="NAME")
    ] = None
    selected: options.SelectionOptions = options.SelectionOptions()
    reason: Annotated[str, option("why; it goes on record", metavar="TEXT")] = ""
    incident: Annotated[
        str,
        option(
            "on record with this incident, once for it; without a name: all secrets that it exposed",
            metavar="ID",
        ),
    ] = ""
    way: RotationWay = RotationWay()
    force: Annotated[bool, option("do not ask first")] = False


def _list_work(given: ListSecrets) -> str:
    """Choose: a file needs no targets, and the local store neither."""
    if not given.origin.where.is_backup:
        return "verify_clean:verify_clean" if given.verify_clean else "store:list_in_store"
    if given.source != options.LOCAL or given.verify_clean:
        raise UsageError("A backup is listed, or a source: --source and --verify-clean are for sources.")
    return "in_backup:list_in_backup"


def _get_work(given: GetSecret) -> str:
    return "in_backup:get_from_backup" if given.origin.where.is_backup else "store:get_from_store"


COMMANDS = {
    "list": Command(ListSecrets, _list_work),
    "get": Command(GetSecret, _get_work),
    "set": Command(
        SetSecret,
        "write:set_secret",
        "The value comes from stdin, or from a hidden prompt. Earlier versions are kept.",
    ),
    "secrets import": Command(ImportSecrets, "write:import_secrets", "Everything is imported, or nothing."),
    "secrets delete": Command(DeleteSecrets, "write:delete_secrets"),
    "secrets rotate": Command(
        RotateSecrets,
        "rotate_secret:rotate_secret",
        "Each secret is given a new value by the first of [rotators] that is for it. Strongroom writes a\n"
        "new version, reads it back, and says what a person must still do. If a program refuses the new\n"
        "value, the former one is made current again. A secret without a rotator is named and left.\n"
        "If the command is interrupted, it says whether the same command goes on where it stopped. The\n"
        "values are printed nowhere. The exit code is 0 only if every secret has a new value.",
    ),
}
