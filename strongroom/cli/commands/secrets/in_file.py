"""list and get in a backup file: of any kind, without configuration and without a database."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager

from strongroom.cli.commands.secrets.store import answer_names, answer_secret, missing, named
from strongroom.cli.parameters import record_of
from strongroom.cli.shared import backup_selection, identities, opening
from strongroom.cli.shared.access_log import ValueHolder
from strongroom.cli.shared.backup_selection import near_name
from strongroom.cli.shared.opening import kind_of, open_file
from strongroom.cli.shared.options import RestoreFrom
from strongroom.cli.terminal import place
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.container.kinds import FileKind
from strongroom.container.metadata import read_document
from strongroom.model import ListedSecret, Secret
from strongroom.operations.archive.reading import InOnePlace
from strongroom.operations.archive.salvage import Salvaged

NOTHING = "The backup holds no such secret."


def list_in_file(arguments: Namespace, output: Output) -> Answer:
    return answer_names(_entries(arguments, output), arguments, nothing=NOTHING)


def get_from_file(arguments: Namespace, output: Output) -> Answer | None:
    secret, where = _secret_in_file(arguments, output)
    return answer_secret(secret, where, arguments, output, place.find())


def _entries(arguments: Namespace, output: Output) -> Iterator[ListedSecret]:
    """Yield what is listed: no value is read."""
    unsealed = _unsealed(arguments, output)
    if unsealed is not None:
        yield from (ListedSecret(secret.name, 0, tags=secret.tags) for secret in unsealed)
        return
    with _salvaged(arguments, output) as backup:
        yield from (ListedSecret(row.name, 0, tags=row.tags) for row in backup.rows())


@contextmanager
def _salvaged(arguments: Namespace, output: Output) -> Iterator[Salvaged]:
    """Open the file as far as it is sound; what is lost is said at the end."""
    given = record_of(RestoreFrom, arguments)
    with opening.backup_for_inspection(given, output, place.find()) as opened, opening.explaining_keys():
        backup = Salvaged(InOnePlace(opened), opening.before_in_file(opened, given, place.find()))
        with backup_selection.telling_losses([backup], output):
            yield backup


def _secret_in_file(arguments: Namespace, output: Output) -> tuple[Secret, ValueHolder]:
    """Return the secret, and what it is of."""
    unsealed = _unsealed(arguments, output)
    if unsealed is not None:
        file = str(arguments.backup_file)
        return named(arguments.name, unsealed, file), ValueHolder(f"file '{file}'", file)
    with _salvaged(arguments, output) as backup:
        secret = backup.find(arguments.name)
        if secret is None and (loss := backup.error()) is not None:
            raise loss
        secret = secret or missing(
            arguments.name, f"backup {backup.manifest.backup_id}", near_name(arguments.name, backup)
        )
        return secret, ValueHolder.backup(backup.source_of(arguments.name))


def _unsealed(arguments: Namespace, output: Output) -> list[Secret] | None:
    """Return what a file holds that is no sealed backup: a plain document, or an old file."""
    file = arguments.backup_file
    kind = None if file.is_dir() else kind_of(file)
    if kind is FileKind.METADATA:
        with open_file(file) as reader:
            return list(read_document(reader))
    return (
        identities.secrets_of(file, record_of(RestoreFrom, arguments), output)
        if kind is FileKind.LEGACY
        else None
    )
