"""Where names lie on the server, as it was found at one moment, and how to get at them."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from msgspec import Struct

from strongroom.errors import SourceError
from strongroom.model import Secret
from strongroom.sources import SecretChange
from strongroom.sources.vault.explain import GO_ON
from strongroom.sources.vault.listing import walk
from strongroom.sources.vault.losses import VaultLosses
from strongroom.sources.vault.reading import KeyReader
from strongroom.sources.vault.records import KeyInfo, Mount, kv_mount
from strongroom.sources.vault.survey import ServerSurvey
from strongroom.sources.vault.system import (
    AUTH,
    AUTH_CONFIG,
    MOUNT,
    MOUNTS,
    NAMESPACE,
    System,
    kind_of,
)
from strongroom.sources.vault.system_writing import SystemWriter
from strongroom.sources.vault.writing import KeyWriter
from strongroom.vault import paths
from strongroom.vault.client import Vault
from strongroom.vault.failures import Denied


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
        if not paths.addressable(name):
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

    def write(self, change: SecretChange, losses: VaultLosses) -> None:
        """Write one change, whose ``expected`` was just found to be true."""
        place = self.find(change.secret.name)
        if place is None:
            raise SourceError(
                f"there is no mount for secret {change.secret.name!r}",
                hint="Restore the mounts first (names 'sys/mounts/…'), or make the mount by hand. " + GO_ON,
            )
        if place.mount is None:
            SystemWriter(self._vault, losses).write(change, place.namespace, place.path)
        else:
            config = self.survey.config(place.mount) if place.mount.version == 2 else None
            KeyWriter(self._vault, place.mount, config, losses).write(change, place.path)

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
