"""list and get in a backup on targets: the newest that covers what is asked for, or the one that is named."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from strongroom.cli.commands.secrets.in_file import NOTHING
from strongroom.cli.commands.secrets.store import answer_names, answer_secret, missing
from strongroom.cli.parameters import record_of
from strongroom.cli.shared import backup_selection, opening, options
from strongroom.cli.shared.access_log import ValueHolder
from strongroom.cli.shared.backup_selection import Opened, near_name
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.manifest import Manifest
from strongroom.model import ListedSecret, Secret
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.restore.version import holds


def list_on_targets(arguments: Namespace, output: Output) -> Answer:
    return answer_names(_entries_on_targets(arguments, output), arguments, nothing=NOTHING)


def get_from_targets(arguments: Namespace, output: Output) -> Answer | None:
    given = record_of(options.RestoreFrom, arguments)
    asked = backup_selection.requested(given.choice, values=arguments.show_value, name=arguments.name)
    with (
        backup_selection.backups_on_targets(given, asked, output, place.find()) as backups,
        opening.explaining_keys(),
    ):
        first, tell = next(backups)
        tell()
        looked, manifest, secret = _found(chain([(first, _told)], backups), arguments)
        where = f"backup {first.manifest.backup_id}"
        where += f", nor in the {looked - 1} before it that may hold it" if looked > 1 else ""
        secret = secret or _missing(first, arguments.name, where)
    return answer_secret(secret, ValueHolder.backup(manifest), arguments, output, place.find())


def _missing(first: Salvaged, name: str, where: str) -> Secret:
    """Raise what to say of a secret that none of them has: what is lost, if it could have lain there."""
    if (loss := first.error()) is not None:
        raise loss
    return missing(name, where, near_name(name, first))


def _told() -> None:
    """The first has been said already."""


def _found(backups: Iterator[Opened], arguments: Namespace) -> tuple[int, Manifest, Secret | None]:
    """Return the secret of the newest backup that holds the version that is asked for, and which that is; or
    else of the newest that has the secret at all; and how many were looked in."""
    looked = 0
    newest: tuple[Manifest, Secret | None] | None = None
    for looked, (backup, tell) in enumerate(backups, 1):
        secret = backup.find(arguments.name)
        if secret is not None and holds(secret, arguments.version):
            tell()
            return looked, backup.source_of(arguments.name), secret
        if newest is None or newest[1] is None:
            newest = backup.source_of(arguments.name), secret
    assert newest is not None  # there is one at least
    return looked, *newest


def _entries_on_targets(arguments: Namespace, output: Output) -> Iterator[ListedSecret]:
    """Yield what is listed: no value is read."""
    selection = options.selection_of(arguments.filter_tag, arguments.include, arguments.exclude)
    asked = backup_selection.requested(
        record_of(options.BackupOptions, arguments), values=False, selection=selection
    )
    with _backup(asked, arguments, output) as backup:
        yield from (ListedSecret(row.name, 0, tags=row.tags) for row in backup.rows())


@contextmanager
def _backup(asked: Asked, arguments: Namespace, output: Output) -> Iterator[Salvaged]:
    with (
        backup_selection.backup_on_targets(
            record_of(options.RestoreFrom, arguments), asked, output, place.find()
        ) as backup,
        opening.explaining_keys(),
    ):
        yield backup
