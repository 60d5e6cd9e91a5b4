"""What is restored from: a backup on a target or in a file, or the secrets of an old file."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli import identities, legacy, opening, shredded, trust
from cli.inputs import kind_of
from cli.output import Output
from cli.place import Place
from strongroom.container.kinds import FileKind
from strongroom.container.manifest import Manifest
from strongroom.errors import SecretNotFound, UsageError, WrongKey
from strongroom.keys import Opener
from strongroom.model import Secret, Selection
from strongroom.operations.open import Backup
from strongroom.operations.restore import chosen
from strongroom.sources.select import matches

ESCROW = "escrow"


def add_arguments(
    parser: ArgumentParser, *, title: str = "what to restore from", required: bool = True
) -> None:
    """Let a command say what it restores from, or compares with."""
    group = parser.add_argument_group(title)
    where = group.add_mutually_exclusive_group(required=required)
    where.add_argument("--backup-file", metavar="FILE", type=Path, help="a single-file backup")
    where.add_argument(
        "--from-target", metavar="TARGET", help="a target: its directory, or its configured name"
    )
    group.add_argument("--backup", metavar="ID", help="which backup of a target (default: the newest)")
    identities.add_arguments(parser)
    trust.add_signer_argument(parser)
    legacy.add_argument(parser)


class Origin:
    """A backup that a trusted signer made, or what an old file holds."""

    def __init__(
        self, name: str, openers: list[Opener], backup: Backup | None, secrets: list[Secret]
    ) -> None:
        self.name = name
        self.openers = openers
        self._backup = backup
        self._secrets = secrets

    @property
    def manifest(self) -> Manifest | None:
        return self._backup.manifest if self._backup else None

    @property
    def versions(self) -> int:
        if self._backup is not None:
            return self._backup.manifest.counts.versions
        return sum(len(secret.versions) for secret in self._secrets)

    @property
    def total(self) -> int:
        return self._backup.manifest.counts.secrets if self._backup else len(self._secrets)

    def unlock(self) -> None:
        """Open what all of it is sealed under, so that a wrong key is told before anything is begun."""
        if self._backup is not None:
            self._backup.unlock()

    def select(self, selection: Selection) -> Iterator[Secret]:
        if self._backup is not None:
            return chosen(self._backup, selection=selection)
        return (secret for secret in self._secrets if matches(selection, secret))

    def find_or_none(self, name: str) -> Secret | None:
        if self._backup is not None:
            return self._backup.find(name)
        return next((secret for secret in self._secrets if secret.name == name), None)

    def find(self, name: str) -> Secret:
        if self._backup is not None:
            return next(chosen(self._backup, names=[name]))
        found = self.find_or_none(name)
        if found is None:
            raise SecretNotFound(
                f"{self.name} holds no secret '{name}'.", hint="See what it holds with 'test-decrypt'."
            )
        return found


@contextmanager
def chosen_from(arguments: Namespace, output: Output, here: Place) -> Iterator[Origin]:
    """Open it; what is wrong with it is said here, before anything is written.

    Raises:
        UsageError: it holds no values, or no secrets of a source.
        BackupShredded: it is not to be brought back.
    """
    if here.problem:
        output.note(f"note: {here.problem}")
    file = arguments.backup_file
    kind = None if file is None or file.is_dir() else kind_of(file)
    legacy.refuse_beside(arguments, kind)
    if kind is FileKind.METADATA:
        raise _without_values()
    if kind is FileKind.LEGACY:
        secrets = legacy.secrets_of(file, arguments, output)
        yield Origin(str(file), identities.identities_of(arguments, output, here), None, secrets)
        return
    if arguments.backup:
        shredded.refuse(here, arguments.backup)
    openers = identities.identities_of(arguments, output, here)
    with opening.backup_trusted(arguments, output, openers, here) as backup:
        if not arguments.backup_file:
            shredded.refuse(here, backup.manifest.backup_id)
        _refuse_without_values(backup)
        try:
            yield Origin(f"backup {backup.manifest.backup_id}", openers, backup, [])
        except WrongKey as error:
            raise opening.explained(error) from None


def _refuse_without_values(backup: Backup) -> None:
    if backup.manifest.source == ESCROW:
        raise UsageError(
            "This is an escrow, not a backup of secrets.",
            hint="Open it with 'strongroom escrow --open FILE'.",
        )
    if not backup.manifest.values:
        raise _without_values()


def _without_values() -> UsageError:
    return UsageError(
        "This backup holds no values, so nothing can be restored from it.",
        hint="Restore from a full one (made with --include-values).",
    )
