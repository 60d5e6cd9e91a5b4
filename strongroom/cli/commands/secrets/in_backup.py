"""list and get in a backup: in a file of any kind, without a configuration or a database, or on targets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from strongroom.cli.commands.secrets.arguments import GetSecret, ListSecrets, ReadFrom
from strongroom.cli.commands.secrets.store import answer_names, answer_secret, missing, named
from strongroom.cli.shared import backup_selection, identities, opening
from strongroom.cli.shared.access_log import ValueHolder
from strongroom.cli.shared.backup_selection import Opened, near_name
from strongroom.cli.shared.opening import kind_of, open_file
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import Manifest
from strongroom.container.metadata import read_document
from strongroom.model import ListedSecret, Secret
from strongroom.operations.archive.reading import InOnePlace
from strongroom.operations.archive.salvage import Salvaged
from strongroom.operations.restore.restorable import holds


def list_in_backup(given: ListSecrets, output: Output) -> Answer:
    entries = _listed(given, output)
    return answer_names(entries, given.selected, nothing="The backup holds no such secret.")


def _listed(given: ListSecrets, output: Output) -> Iterator[ListedSecret]:
    """Yield what is listed: no value is read."""
    if (unsealed := _unsealed(given.origin, output)) is not None:
        yield from (ListedSecret(secret.name, 0, tags=secret.tags) for secret in unsealed)
        return
    with _salvaged(given, output) as backup:
        yield from (ListedSecret(row.name, 0, tags=row.tags) for row in backup.rows())


@contextmanager
def _salvaged(given: ListSecrets, output: Output) -> Iterator[Salvaged]:
    """Open the file, or the backup on targets that covers what is asked for."""
    if given.origin.where.backup_file is not None:
        with _in_file(given.origin, output) as backup:
            yield backup
        return
    selection = given.selected.selection()
    asked = backup_selection.requested(given.origin.choice, values=False, selection=selection)
    with (
        backup_selection.backup_on_targets(given.origin, asked, output, place.find()) as backup,
        opening.explaining_keys(),
    ):
        yield backup


@contextmanager
def _in_file(origin: ReadFrom, output: Output) -> Iterator[Salvaged]:
    """Open the file as far as it is sound; what is lost is said at the end."""
    with opening.backup_for_inspection(origin, output, place.find()) as opened, opening.explaining_keys():
        backup = Salvaged(InOnePlace(opened), opening.before_in_file(opened, origin, place.find()))
        with backup_selection.telling_losses([backup], output):
            yield backup


def _unsealed(origin: ReadFrom, output: Output) -> list[Secret] | None:
    """Return what a file holds that is no sealed backup: a plain document, or an old file."""
    if (file := origin.where.backup_file) is None:
        return None
    kind = None if file.is_dir() else kind_of(file)
    if kind is FileKind.METADATA:
        with open_file(file) as reader:
            return list(read_document(reader))
    return identities.secrets_of(file, origin, output) if kind is FileKind.LEGACY else None


def get_from_backup(given: GetSecret, output: Output) -> Answer | None:
    if (unsealed := _unsealed(given.origin, output)) is not None:
        file = str(given.origin.where.backup_file)
        secret, held_by = named(given.name, unsealed, file), ValueHolder(f"file '{file}'", file)
    elif given.origin.where.backup_file is not None:
        secret, held_by = _of_file(given, output)
    else:
        secret, held_by = _of_targets(given, output)
    return answer_secret(secret, held_by, given, output, place.find())


def _of_file(given: GetSecret, output: Output) -> tuple[Secret, ValueHolder]:
    with _in_file(given.origin, output) as backup:
        secret = backup.find(given.name) or _missing(backup, given.name)
        return secret, ValueHolder.backup(backup.source_of(given.name))


def _of_targets(given: GetSecret, output: Output) -> tuple[Secret, ValueHolder]:
    """Return the secret from the newest backup that covers what is asked for, or the one that is named."""
    asked = backup_selection.requested(given.origin.choice, values=given.show_value, name=given.name)
    with (
        backup_selection.backups_on_targets(given.origin, asked, output, place.find()) as backups,
        opening.explaining_keys(),
    ):
        first, tell = next(backups)
        tell()
        already_told: Opened = (first, lambda: None)
        looked, manifest, secret = _newest_with(chain([already_told], backups), given)
        more = f", nor in the {looked - 1} before it that may hold it" if looked > 1 else ""
        return secret or _missing(first, given.name, more), ValueHolder.backup(manifest)


def _missing(backup: Salvaged, name: str, more: str = "") -> Secret:
    """Raise what to say of a secret that is in no backup: what is lost, if it could have lain there."""
    if (loss := backup.error()) is not None:
        raise loss
    return missing(name, f"backup {backup.manifest.backup_id}{more}", near_name(name, backup))


def _newest_with(backups: Iterator[Opened], given: GetSecret) -> tuple[int, Manifest, Secret | None]:
    """Return the secret of the newest backup that holds the version that is asked for, and which that is; or
    else of the newest that has the secret at all; and how many were looked in."""
    looked = 0
    newest: tuple[Manifest, Secret | None] | None = None
    for looked, (backup, tell) in enumerate(backups, 1):
        secret = backup.find(given.name)
        if secret is not None and holds(secret, given.version):
            tell()
            return looked, backup.source_of(given.name), secret
        if newest is None or newest[1] is None:
            newest = backup.source_of(given.name), secret
    assert newest is not None  # there is one at least
    return looked, *newest
