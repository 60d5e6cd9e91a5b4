"""Where names lie on the server, as it was found at one moment, and how to get at them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Final

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import Secret, VersionState
from strongroom.sources import Foreseen, SecretChange
from strongroom.sources.batches import check_writable
from strongroom.sources.vault import secrets
from strongroom.sources.vault.reading import KeyReader
from strongroom.sources.vault.records import GO_ON, KeyInfo, Mount, MountConfig, kv_mount, walk
from strongroom.sources.vault.secrets import ROLE, custom_of, facts_of, fitting
from strongroom.sources.vault.survey import ServerSurvey
from strongroom.sources.vault.system import (
    AUTH,
    AUTH_CONFIG,
    AUTHS,
    LAYERS,
    MOUNT,
    MOUNTS,
    NAMESPACE,
    System,
    SystemWriter,
    entry_of,
    fields_of,
    gaps_of,
    kind_of,
)
from strongroom.sources.vault.writing import (
    INEXACT,
    PLAIN_ONLY,
    KeyWriter,
    VaultLosses,
    begins_with_version,
    has_numbers_kept,
    is_plain,
    spans,
)
from strongroom.vault import answers
from strongroom.vault.answers import Denied
from strongroom.vault.client import Vault


class NamePlace(Struct, frozen=True, gc=False):
    """Where a name lies: in a KV mount at a path, or, without a mount, at a path of the API."""

    name: str
    namespace: str
    mount: Mount | None
    path: str


class ServerScope:
    """What one listing of the server found."""

    def __init__(self, vault: Vault, survey: ServerSurvey, *, tag_metadata: frozenset[str]) -> None:
        self._vault = vault
        self.survey = survey
        self.system = System(vault, survey)
        self._readers = {
            name: KeyReader(
                vault, mount, survey.config(mount) if mount.version == 2 else None, tag_metadata=tag_metadata
            )
            for name, mount in survey.mounts.items()
        }

    def reader(self, mount: Mount) -> KeyReader:
        """Return what reads the keys of a mount."""
        return self._readers[mount.name]

    def find(self, name: str) -> NamePlace | None:
        """Return where a name lies, or ``None`` if it cannot be anywhere here."""
        if not answers.addressable(name):
            return None
        split = self.system.split(name)
        if split is not None:
            return NamePlace(name, split[0], None, split[1])
        found = self.survey.find(name)
        return NamePlace(name, found[0].namespace, found[0], found[1]) if found else None

    def has_method(self, name: str) -> bool:
        """Say whether the auth method is there that a role or settings belong to."""
        split = self.system.split(name)
        return split is not None and self.system.has_method(*split)

    def read(self, place: NamePlace, known: tuple[KeyInfo, datetime] | None = None) -> Secret | None:
        """Return what is there, or ``None``."""
        if place.mount is None:
            return self.system.read(place.name, place.namespace, place.path)
        return self.reader(place.mount).read(place.name, place.path, known)

    def head(self, place: NamePlace) -> int | None:
        """Return the current version number of what is there, or ``None``."""
        if place.mount is not None and place.mount.version == 2:
            info = self.reader(place.mount).info(place.path)
            return info[0].current_version if info else None
        return 1 if self.read(place) is not None else None

    def is_checked_by_write(self, change: SecretChange) -> bool:
        """Say whether writing it begins with a version that the server takes only if the key is new."""
        place = self.find(change.secret.name)
        if change.expected is not None or place is None or place.mount is None or place.mount.version == 1:
            return False
        return begins_with_version(change.secret, self.survey.config(place.mount) or MountConfig())

    def write(self, change: SecretChange, losses: VaultLosses) -> tuple[KeyInfo, datetime] | None:
        """Write one change, whose ``expected`` was just found to be true, or is by the write itself.

        Returns the metadata of a new key, as far as the answers told all of it, and the server's clock then.
        """
        place = self.find(change.secret.name)
        if place is None:
            raise SourceError(
                f"there is no mount for secret {change.secret.name!r}",
                hint="Restore the mounts first (names 'sys/mounts/…'), or make the mount by hand. " + GO_ON,
            )
        if place.mount is None:
            SystemWriter(self._vault, losses).write(change, place.namespace, place.path)
            return None
        config = self.survey.config(place.mount) if place.mount.version == 2 else None
        return KeyWriter(self._vault, place.mount, config, losses).write(change, place.path)

    def delete(self, place: NamePlace, losses: VaultLosses) -> bool:
        """Remove what is there; say whether it was removed."""
        mount = place.mount
        if mount is None and kind_of(place.path) == MOUNT and self._holds_nothing(place):
            # The server removes it without check-and-set: the look comes just before.
            self._vault.delete(place.path, namespace=place.namespace)
            return True
        if mount is None:
            return SystemWriter(self._vault, losses).delete(place.name, place.namespace, place.path)
        if mount.version == 2:
            self._vault.delete(mount.path, "metadata", place.path, namespace=mount.namespace)
        else:
            self._vault.delete(mount.path, place.path, namespace=mount.namespace)
        return True

    def stays(self, secret: Secret, *, without: Collection[str]) -> str:
        """Say why something that others may rest on is never removed; nothing, if it may be."""
        if secret.type != MOUNT:
            return _STAYS.get(secret.type, "")
        place = self.find(secret.name)
        mount = self._mount_at(place) if place is not None else None
        if mount is None:
            return _STAYS[MOUNT]
        keys = walk(self._vault, mount, in_flight=self._vault.connection.in_flight, detailed=False)
        try:
            return _IN_USE if any(mount.name + key.path not in without for key in keys) else ""
        except (Denied, SourceError):
            return _UNLISTED

    def _mount_at(self, place: NamePlace) -> Mount | None:
        """Return the KV mount whose settings lie there, or ``None`` if it is of another engine."""
        inner = place.path.removeprefix(MOUNTS) + "/"
        info = self.survey.tables.get(place.namespace, {}).get(inner)
        return kv_mount(place.namespace, inner, info) if info else None

    def _holds_nothing(self, place: NamePlace) -> bool:
        """Say whether a mount is one of KV in which there is no key: of others nobody could say."""
        mount = self._mount_at(place)
        if mount is None:
            return False
        kind = ("metadata",) if mount.version == 2 else ()
        return not self._vault.list(mount.path, *kind, namespace=mount.namespace).found


_STAYS: Final = {
    NAMESPACE: "a namespace is never removed: all that is in it would go too",
    AUTH: "an auth method is never removed: its users and their tokens would go too",
    AUTH_CONFIG: "settings of an auth method go with the method, which is never removed",
    MOUNT: "an engine that is not KV is never removed: no backup has what it holds",
}
_IN_USE = "the mount holds secrets that are not removed"
_UNLISTED = "what the mount holds cannot be listed"


# -- What a restore into a server would refuse, and what it could not reproduce, as far as is known before


def foresee(secret: Secret, scope: ServerScope, made: Collection[str]) -> Foreseen:
    """Say it of one secret. ``made`` are the entries that will be there before it is written."""
    try:
        check_writable(secret)
        if secret.type in LAYERS:
            refusal = _why_nowhere(secret, scope, made)
            return Foreseen(refusal=refusal, loss="; ".join(gaps_of(secret.type, fields_of(secret))))
    except SourceError as error:
        return Foreseen(refusal=error.message)
    place = scope.find(secret.name)
    if (place is None or place.mount is None) and not any(folder in made for folder in _mounts_of(secret)):
        return Foreseen(refusal="there is no KV mount for it: make one, or restore its 'sys/mounts/…' too")
    version_1 = place is not None and place.mount is not None and place.mount.version == 1
    if version_1 and not is_plain(secret):
        return Foreseen(refusal=PLAIN_ONLY)
    if not version_1 and not has_numbers_kept(secret):
        return Foreseen(refusal=INEXACT)
    return Foreseen(loss="; ".join(_losses(secret)))


def _why_nowhere(secret: Secret, scope: ServerScope, made: Collection[str]) -> str:
    """Say what is missing for what others rest on: it rests on something itself."""
    start = re.search(r"(?:^|/)(?:sys|auth)/", secret.name)
    namespace = secret.name[: start.end()].rpartition("/")[0].rpartition("/")[0] if start else ""
    if namespace and scope.find(secret.name) is None and entry_of(f"{namespace}/") not in made:
        return "there is no namespace for it: make one, or restore its 'sys/namespaces/…' too"
    if secret.type not in (ROLE, AUTH_CONFIG) or scope.has_method(secret.name):
        return ""
    parts = secret.name.removeprefix(f"{namespace}/" if namespace else "").split("/")
    before = f"{namespace}/" if namespace else ""
    methods = (f"{before}{AUTHS}{'/'.join(parts[1:end])}" for end in range(2, len(parts)))
    if any(method in made for method in methods):
        return ""
    return "there is no auth method for it: enable one, or restore its 'sys/auth/…' too"


def _mounts_of(secret: Secret) -> Iterator[str]:
    """Yield the names of all entries that would be the mount that a secret lies in."""
    parts = secret.name.split("/")
    for namespace in range(len(parts)):
        for end in range(namespace + 1, len(parts)):
            before = "".join(f"{part}/" for part in parts[:namespace])
            yield before + MOUNTS + "/".join(parts[namespace:end])


def _losses(secret: Secret) -> Iterator[str]:
    custom = custom_of(secret) or {}
    if dropped := sorted(custom.keys() - fitting(custom).keys()):
        yield f"custom metadata {', '.join(map(repr, dropped))} breaks the server's limits"
    if facts_of(secret) is None and secrets.needs_wrapping(secret.versions):
        yield "values that are no JSON object are written as a member of one"
    deleted = [version.number for version in secret.versions if version.state is VersionState.DELETED]
    if deleted:
        yield f"version {spans(deleted)} is deleted, and no backup can read its data"
