"""Reads one secret whole: all versions, all metadata, as of one moment.

A live version's data never changes, so a key's metadata and the data of each version it names are
one state, provided that the data is of *these* versions: each answer carries the metadata of
its version anew, and what was created at another time belongs to a key made again. The newest
version is read last and without a number, so the answer also tells whether it still is the newest.
Anything else than expected: the metadata is read anew, and everything with it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from strongroom.model import Media, Secret, SecretBytes, SecretVersion, VersionState
from strongroom.sources.errors import SourceChanged
from strongroom.sources.vault.convention import understood
from strongroom.sources.vault.records import (
    DATA,
    KEY,
    PLAIN,
    KeyInfo,
    KeyVersion,
    Mount,
    MountConfig,
    VersionData,
)
from strongroom.sources.vault.secrets import secret_of
from strongroom.sources.vault.times import time_of
from strongroom.vault.client import Vault

TRIES = 5
_SLACK = timedelta(seconds=2)  # the server's clock reaches us in whole seconds, and a request late


class KeyChanged(Exception):
    """The key is not what its metadata said a moment ago."""


class KeyReader:
    """Reads keys of one mount."""

    def __init__(
        self, vault: Vault, mount: Mount, config: MountConfig | None, *, tag_metadata: frozenset[str]
    ) -> None:
        self._vault = vault
        self._mount = mount
        self._config = config
        self._tag_metadata = tag_metadata

    def read(self, name: str, path: str, known: tuple[KeyInfo, datetime] | None = None) -> Secret | None:
        """Return a secret, or ``None`` if there is none.

        Args:
            known: its metadata as a listing gave it, and the server's clock then; read if left out.

        Raises:
            SourceChanged: it was written again and again while we were reading.
        """
        if self._mount.version == 1:
            return self._plain(name, path)
        for _ in range(TRIES):
            found = known or self.info(path)
            known = None
            if found is None:
                return None
            try:
                return self._whole(name, path, *found)
            except KeyChanged:
                continue
        raise SourceChanged(f"secret '{name}' changed {TRIES} times while it was being read")

    def info(self, path: str) -> tuple[KeyInfo, datetime] | None:
        """Return a key's metadata, and the server's clock then."""
        answer = self._vault.get(self._mount.path, "metadata", path, namespace=self._mount.namespace)
        return (answer.read(KEY).data, answer.moment or datetime.now(UTC)) if answer.found else None

    def tags(self, path: str, info: KeyInfo | None) -> dict[str, str]:
        """Return a key's tags, which its metadata tells; it is read unless a listing gave it."""
        if self._mount.version == 1:
            return {}
        if info is None:
            found = self.info(path)
            info = found[0] if found else KeyInfo()
        return understood(info.custom_metadata or {}, tag_metadata=self._tag_metadata).tags

    def _whole(self, name: str, path: str, info: KeyInfo, moment: datetime) -> Secret:
        numbers = sorted(info.versions)
        live = [number for number in numbers if not _is_gone(info.versions[number], moment)]
        data = {number: self._data(path, info, number) for number in live if number != info.current_version}
        if live:
            data[info.current_version] = self._newest(path, info)
        versions = tuple(_version(number, info.versions[number], data.get(number)) for number in numbers)
        return secret_of(name, self._mount, self._config, info, versions, tag_metadata=self._tag_metadata)

    def _data(self, path: str, info: KeyInfo, number: int) -> bytes | None:
        """Return a version's data; ``None`` if it is past its deletion time by the server's clock."""
        return self._checked(self._ask(path, number), info, number)

    def _newest(self, path: str, info: KeyInfo) -> bytes | None:
        answer = self._ask(path, None)
        said = answer.metadata.custom_metadata if answer else None
        if (said or {}) != (info.custom_metadata or {}):
            raise KeyChanged
        return self._checked(answer, info, info.current_version)

    def _ask(self, path: str, number: int | None) -> VersionData | None:
        """Ask for a version. A deleted one is a 404 too, but one that has metadata."""
        answer = self._vault.get(
            self._mount.path, "data", path, namespace=self._mount.namespace, version=number
        )
        return answer.read(DATA).data

    def _checked(self, answer: VersionData | None, info: KeyInfo, number: int) -> bytes | None:
        if answer is None or answer.metadata.version != number or number not in info.versions:
            raise KeyChanged
        version_info, listed = answer.metadata, info.versions[number]
        if (version_info.created_time, version_info.deletion_time, version_info.destroyed) != (
            listed.created_time,
            listed.deletion_time,
            listed.destroyed,
        ):
            raise KeyChanged
        return answer.text

    def _plain(self, name: str, path: str) -> Secret | None:
        """Read from KV v1: one value, and nothing else known of it."""
        answer = self._vault.get(self._mount.path, path, namespace=self._mount.namespace)
        if not answer.found:
            return None
        value = SecretBytes(bytes(answer.read(PLAIN).data))
        return secret_of(
            name, self._mount, None, KeyInfo(), (SecretVersion(number=1, value=value, media=Media.JSON),)
        )


def _is_gone(version: KeyVersion, moment: datetime) -> bool:
    """Say whether asking for the data is useless. A deletion time may lie in the future, and which
    time it is the server says: our clock may be wrong."""
    return version.destroyed or bool(
        version.deletion_time and time_of(version.deletion_time) < moment - _SLACK
    )


def _version(number: int, listed: KeyVersion, data: bytes | None) -> SecretVersion:
    state = VersionState.LIVE
    if listed.destroyed:
        state = VersionState.DESTROYED
    elif data is None:
        state = VersionState.DELETED
    return SecretVersion(
        number=number,
        value=None if data is None else SecretBytes(data),
        media=Media.JSON,
        state=state,
        created_at=listed.created_time or None,
    )
