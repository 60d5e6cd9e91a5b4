"""Why a secret that was found is not in the newest backup of its source: what speaks against that backup."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from strongroom.cli.commands.find.reading import BackupReader
from strongroom.cli.terminal.output import plural
from strongroom.operations.archive.choice import BackupChoice
from strongroom.operations.archive.coverage import Asked, lacks
from strongroom.operations.find.search import FoundSecret
from strongroom.words import verb


class Gone(Struct, frozen=True, kw_only=True):
    """Secrets that the newest backup of their source lacks, and why that is not all that is known."""

    source: str
    backup: str
    names: tuple[str, ...]
    why: str

    @property
    def words(self) -> str:
        """What is gone and why, for people."""
        count = len(self.names)
        what = f"'{self.names[0]}'" if count == 1 else plural(count, "secret")
        newest = f"backup {self.backup}, the newest of source '{self.source}'"
        return f"{what} {verb(count, 'are')} not in {newest}: {self.why}"


def gone_by_a_finding(found: Sequence[FoundSecret], reader: BackupReader, asked: Asked) -> Iterator[Gone]:
    """Yield what is gone where a finding speaks against the backup. What somebody deleted is no news."""
    newest: dict[str, tuple[BackupChoice, list[FoundSecret]]] = {}
    for secret in found:
        choice = _newest(secret, reader)
        if choice is None or any(choice.manifest.backup_id in held.backups for held in secret.versions):
            continue
        newest.setdefault(choice.manifest.backup_id, (choice, []))[1].append(secret)
    for backup, (choice, those) in newest.items():
        findings = reader.earlier(choice, asked).findings()
        if findings:
            names = tuple(found_secret.name for found_secret in those)
            yield Gone(source=those[0].source, backup=backup, names=names, why=findings[0].said)


def _newest(secret: FoundSecret, reader: BackupReader) -> BackupChoice | None:
    """Return the newest backup that was read and was to have a secret, by its name and tags."""
    asked = Asked(selection=secret.as_selection)
    those = (choice for choice in reader.read if choice.manifest.source == secret.source)
    return next((choice for choice in those if not lacks(choice.manifest, asked)), None)
