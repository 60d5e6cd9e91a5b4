"""What is restored from: a backup as far as it is sound, one of its versions, or an old file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Secret, Selection
from strongroom.operations.archive.filled import Filled, Names
from strongroom.operations.archive.salvage import LostParts, Salvaged
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.restore.restore import chosen
from strongroom.operations.restore.version import at_version
from strongroom.sources.batches import matches
from strongroom.sources.errors import SecretNotFound


class Restorable:
    """A backup that a trusted signer made, or what an old file holds.

    Args:
        name: what it is called, to people.
        openers: the keys that open it.
        backup: the backup; ``None`` for an old file.
        secrets: what an old file holds.
        earlier: gives the backups before it, where it is one of several.
    """

    def __init__(
        self,
        name: str,
        openers: Sequence[Opener],
        backup: Salvaged | None,
        secrets: Sequence[Secret] = (),
        *,
        earlier: Callable[[], Earlier] | None = None,
    ) -> None:
        self.name = name
        self.openers = openers
        self.backup = backup
        self.read = [] if backup is None else [backup]
        self.filled: Filled | None = None
        self._secrets = secrets
        self._making = earlier

    @property
    def id(self) -> str:
        """The backup's id; of an old file its name."""
        return self.backup.manifest.backup_id if self.backup is not None else self.name

    @property
    def manifest(self) -> Manifest | None:
        return self.backup.manifest if self.backup is not None else None

    @property
    def readers(self) -> Manifest | None:
        """The manifest with those who can open the backup now."""
        return self.backup.readers() if self.backup is not None else None

    @property
    def versions(self) -> int:
        if self.backup is not None:
            return self.backup.manifest.counts.versions
        return sum(len(secret.versions) for secret in self._secrets)

    @property
    def total(self) -> int:
        return self.backup.manifest.counts.secrets if self.backup is not None else len(self._secrets)

    def unlock(self) -> None:
        """Open what all of it is sealed under, so that a wrong key is told before anything is begun."""
        if self.backup is not None:
            self.backup.unlock()

    @cached_property
    def earlier(self) -> Earlier | None:
        """The backups before it, where it is one of several."""
        return self._making() if self._making is not None else None

    def fill(self, names: Names | None = None) -> Filled | None:
        """Take what it lacks from earlier backups; what from which, if that is known already."""
        if self.earlier is not None and self.backup is not None:
            self.filled = Filled(self.backup, self.earlier, names)
            self.filled.open_all()
        return self.filled

    def select(self, selection: Selection) -> Iterator[Secret]:
        """Yield the secrets that a selection means."""
        if self.filled is not None:
            return (secret for secret in self.filled.secrets() if matches(selection, secret))
        if self.backup is not None:
            return chosen(self.backup, selection=selection)
        return (secret for secret in self._secrets if matches(selection, secret))

    def find_or_none(self, name: str) -> Secret | None:
        """Return one secret, ``None`` if it is not in this backup."""
        if self.backup is not None:
            return self.backup.find(name)
        return next((secret for secret in self._secrets if secret.name == name), None)

    def find(self, name: str, version: int | None = None) -> Secret:
        """Return one secret. Raises SecretNotFound."""
        if (secret := self.find_or_none(name)) is None:
            raise SecretNotFound(f"{self.name} holds no secret '{name}'")
        return at_version(secret, version, where=self.name)

    # -- where each secret came from, and what did not ---------------------------------------

    def backup_of(self, name: str) -> str:
        """Return the earlier backup that a secret is taken from, if it is."""
        filled = self.filled.backup_of(name) if self.filled is not None else ""
        return filled or (self.backup.backup_of(name) if self.backup is not None else "")

    def stands_in(self, name: str) -> bool:
        """Tell whether a secret is from an earlier backup because its part of this one is lost."""
        return self.backup is not None and self.backup.stands_in(name)

    def taken_from(self) -> list[Manifest]:
        """Return the earlier backups that something is taken from, so far."""
        filled = (
            [self.filled.opened(backup).manifest for backup in self.filled.backups] if self.filled else []
        )
        salvaged = self.backup.earlier() if self.backup is not None else []
        return [*filled, *(older_manifest for older_manifest in salvaged if older_manifest not in filled)]

    @property
    def lost(self) -> LostParts | None:
        """What of the backup could not be read so far, and what came from earlier ones instead."""
        return next((lost for salvaged in self.read if (lost := salvaged.lost) is not None), None)

    def loss(self) -> StrongroomError | None:
        """Return how whatever hands it out ends if something of it is lost."""
        return next((error for salvaged in self.read if (error := salvaged.error()) is not None), None)

    @property
    def aside(self) -> tuple[str, ...]:
        """What lies beside it and does not count."""
        return tuple(f"{copy.name} ({copy.code})" for salvaged in self.read for copy in salvaged.aside)

    @property
    def away(self) -> Mapping[str, str]:
        """What was wrong with each place that did not give it whole."""
        return self.backup.failed if self.backup is not None else {}
