"""What is restored from: a backup as far as it is sound, one of its versions, or an old file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from shlex import quote

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from strongroom.container.errors import DuplicateSecret, Malformed
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import older_versions
from strongroom.errors import StrongroomError
from strongroom.keys import Opener
from strongroom.model import Secret, Selection
from strongroom.operations.archive.filled import Filled, Names
from strongroom.operations.archive.salvage import LostParts, Salvaged
from strongroom.operations.archive.shortfall import Earlier
from strongroom.operations.restore.restore import ChosenByContainer, chosen
from strongroom.sources.batches import matches
from strongroom.sources.errors import EmptySource, SecretNotFound, VersionNotFound
from strongroom.sources.json_files import JsonLayout
from strongroom.sources.records import BadRecordError


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

    def by_container(self, selection: Selection) -> ChosenByContainer | None:
        """Return the same, container by container; ``None`` where it is not of one sealed backup alone."""
        if self.filled is not None or self.backup is None or not self.backup.manifest.sealed:
            return None
        backup, best = self.backup, next(iter(self.backup.replicated.places.values()))

        def meant(secrets: Iterable[Secret]) -> Iterator[Secret]:
            return (secret for secret in secrets if matches(selection, secret))

        return ChosenByContainer(
            containers=backup.manifest.containers,
            here=lambda entry: meant(backup.secrets_in(entry)),
            there=lambda entry: meant(best.secrets_in(entry)),
            rest=lambda: meant(backup.instead_of_lost()),
            unlock=backup.unlock,
        )

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


# -- A secret as it was at one of its versions: what was overwritten since is what people come for --


def holds(secret: Secret, number: int | None) -> bool:
    """Tell whether a secret has a version's value, or whether none is asked for."""
    return number is None or any(v.number == number and v.value is not None for v in secret.versions)


def at_version(secret: Secret, number: int | None, *, where: str) -> Secret:
    """Return a secret with what was newest at a version as its newest; as it is, if none is asked for.

    Its tags and dates stay those of the whole secret: no source keeps them by version.

    Args:
        where: what holds it, for the error.

    Raises:
        VersionNotFound: there is no such version.
    """
    if number is None:
        return secret
    versions = tuple(version for version in secret.versions if version.number <= number)
    if not versions or versions[-1].number != number:
        raise no_version(secret, number, where=where)
    return replace(secret, versions=versions, updated_at=versions[-1].created_at or secret.updated_at)


def no_version(secret: Secret, number: int, *, where: str) -> VersionNotFound:
    """Return what to say where a version is not, or has no value."""
    said = f"{where} holds no value of version {number} of '{secret.name}'"
    return VersionNotFound(
        f"{said}. It has {spelled_versions(secret)}.",
        hint=f"See which backups have it: strongroom backups find {quote(secret.name)} --version {number}",
    )


def spelled_versions(secret: Secret) -> str:
    """Return the numbers of a secret's versions, and which have no value: '3 (destroyed), 5-9, 10'."""
    with_value = {version.number for version in secret.versions if version.value is not None}
    runs = older_versions((*secret.versions, secret.current), with_value.__contains__)
    return ", ".join(run.words for run in runs)


# -- The secrets in an old file: its plaintext is JSON that earlier tools laid out freely. It is read in
# memory only; nothing of it touches the disk.


_object = msgspec.json.Decoder(dict[str, Raw]).decode
_list = msgspec.json.Decoder(list[Raw]).decode
_WHOLE = "secrets"


def secrets_in(plaintext: bytes) -> list[Secret]:
    """Return the secrets of an old file's plaintext.

    It is an object of names and values or records, or a list of records; either may lie
    under ``secrets`` beside whatever else the tool kept.

    Raises:
        Malformed: it is no such JSON.
        EmptySource, DuplicateSecret: it has no secret, or two of one name.
    """
    secrets = _parsed(plaintext)
    if not secrets:
        raise EmptySource("the old file opens, but holds no secret")
    names = [secret.name for secret in secrets]
    if (
        twice := next((name for name in names if names.count(name) > 1), None)
        if len(set(names)) < len(names)
        else None
    ):
        raise DuplicateSecret(f"the old file has two secrets named {twice!r}")
    return secrets


def _parsed(plaintext: bytes) -> list[Secret]:
    try:
        return [JsonLayout().parse(piece) for piece in _pieces(plaintext)]
    except BadRecordError as error:
        problem = str(error)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        problem = "it is not JSON"
    # Outside of the handler: what was caught can quote a value.
    raise Malformed(f"The old file opens, but its content cannot be read: {problem}.")


def _pieces(plaintext: bytes) -> list[bytes]:
    text = plaintext.strip()
    if text[:1] == b"{":
        members = _object(text)
        if _WHOLE in members and bytes(members[_WHOLE])[:1] in (b"{", b"["):
            return _pieces(bytes(members[_WHOLE]))
        return [msgspec.json.encode(name) + b":" + bytes(value) for name, value in members.items()]
    return [bytes(record) for record in _list(text)]
