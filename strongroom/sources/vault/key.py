"""The requests that change one KV v2 key, each safe to repeat after a lost reply."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from strongroom.errors import SourceError
from strongroom.sources.vault.explain import GO_ON
from strongroom.sources.vault.kv_form import canonical
from strongroom.sources.vault.records import DATA, KEY, KeyInfo, Mount
from strongroom.system.errors import Conflict
from strongroom.vault.answers import ServerAnswer
from strongroom.vault.client import Happened, Vault
from strongroom.vault.failures import MANY_STRINGS, NO_SPACE, OTHER_VERSION, Ambiguous, VaultRefused

_LARGE = "Most storages take 1 MiB in one entry, Consul 512 KiB. "
_FULL = "Give the server's disk room. "
PADDING = 64
"""Writes of metadata that are spent on reproducing how often it was written."""


class KvKey:
    """One key. ``name`` is for messages."""

    def __init__(self, vault: Vault, mount: Mount, path: str, *, name: str) -> None:
        self._vault = vault
        self._mount = mount
        self._path = path
        self.name = name

    def info(self) -> KeyInfo | None:
        """Return its metadata, or ``None`` if there is no such key."""
        answer = self._vault.get(self._mount.path, "metadata", self._path, namespace=self._mount.namespace)
        return answer.read(KEY).data if answer.found else None

    def put(self, number: int, data: bytes) -> None:
        """Write version ``number``, which must be the next one.

        Args:
            data: a JSON object.

        Raises:
            Conflict: somebody else wrote that version.
        """
        body = b'{"options":{"cas":%d},"data":%b}' % (number - 1, data)
        lost = False

        def happened() -> bool:
            nonlocal lost
            lost = True
            return self._is_written(number, data)

        try:
            self._post("data", body, happened=happened)
        except Ambiguous as ambiguous:
            raise self._no_room(number, ambiguous) from None
        except VaultRefused as refused:
            if refused.reason == MANY_STRINGS and self._is_next(number):
                return self._put_bare(number, data)
            if lost and refused.reason == OTHER_VERSION and self._shows(number, data):
                return None
            raise self._why(number, refused) from None

    def _put_bare(self, number: int, data: bytes) -> None:
        """Write without check-and-set, whose two strings are too many beside a secret of nearly a thousand.

        The answer says which version it became. If somebody was faster, theirs stays where it is.
        """
        try:
            answer = self._post("data", b'{"data":%b}' % data)
        except VaultRefused as refused:
            raise self._why(number, refused) from None
        if answer.data().get("version") != number:
            raise self._taken(number)

    def configure(self, body: dict[str, Any]) -> None:
        """Write metadata, where its settings are as we know them."""
        before, lost = body["metadata_cas"], False

        def happened() -> bool:
            nonlocal lost
            lost = True
            return (self.info() or KeyInfo()).current_metadata_version not in (0, before)

        try:
            self._post("metadata", body, happened=happened)
        except VaultRefused as refused:
            if lost and refused.reason == OTHER_VERSION:
                return  # a standby that was asked did not show it yet
            raise SourceError(
                f"the settings of secret {self.name!r} were refused (status {refused.status})",
                hint="Somebody may be writing to it: look at its metadata. " + GO_ON,
            ) from None

    def mark(self, kind: str, numbers: Iterable[int]) -> None:
        """``delete`` or ``destroy`` versions; twice is the same as once."""
        versions = sorted(numbers)
        if versions:
            self._post(kind, {"versions": versions}, repeatable=True)

    def _post(
        self, kind: str, body: object, *, repeatable: bool = False, happened: Happened | None = None
    ) -> ServerAnswer:
        return self._vault.post(
            self._mount.path,
            kind,
            self._path,
            body=body,
            namespace=self._mount.namespace,
            repeatable=repeatable,
            happened=happened,
        )

    def _is_written(self, number: int, data: bytes) -> bool:
        """Look what became of a write whose reply was lost."""
        answer = self._vault.get(
            self._mount.path, "data", self._path, namespace=self._mount.namespace, version=number
        )
        version_data = answer.read(DATA).data if answer.found else None
        if version_data is None:
            return False
        if version_data.text is None or canonical(version_data.text) != canonical(data):
            raise self._taken(number)
        return True

    def _shows(self, number: int, data: bytes) -> bool:
        """Wait for a version that the server says is there: ours, if it is the data whose reply was lost. A
        standby that was asked for it may not have had it yet."""
        return self._vault.wait_until(lambda: self._is_written(number, data))

    def _why(self, number: int, refused: VaultRefused) -> Exception:
        """Tell "not the next version" from "I do not take such data"; not every server says which."""
        if refused.reason == OTHER_VERSION or not self._is_next(number):
            return self._taken(number)
        return SourceError(
            f"version {number} of secret {self.name!r} was refused (status {refused.status}"
            + (f": {refused.reason})" if refused.reason else ")"),
            hint="OpenBao takes at most 1,000 strings in one secret, Vault 1 MiB in one string. " + GO_ON,
        )

    def _no_room(self, number: int, lost: Ambiguous) -> SourceError:
        return SourceError(
            f"version {number} of secret {self.name!r} was not stored: {lost.reason}",
            hint=(_FULL if lost.reason == NO_SPACE else _LARGE) + GO_ON,
        )

    def _is_next(self, number: int) -> bool:
        return (self.info() or KeyInfo()).current_version == number - 1

    def _taken(self, number: int) -> Conflict:
        return Conflict(f"somebody else wrote version {number} of secret {self.name!r} meanwhile")


class KeyMetadata:
    """A key's metadata as we know it to be; writes only what differs."""

    def __init__(self, key: KvKey, info: KeyInfo) -> None:
        self._key = key
        self.now = info

    def become(self, **wanted: Any) -> None:
        """Set what is not so already."""
        changed = {
            name: value
            for name, value in wanted.items()
            if (getattr(self.now, name) or None) != (value or None)
        }
        if changed:
            self._write(**changed)

    def pad(self, count: int) -> None:
        """Write until the metadata has been written so often, as far as that is reasonable."""
        missing = count - self.now.current_metadata_version
        for _ in range(missing if 0 < missing <= PADDING else 0):
            self._write(max_versions=self.now.max_versions)

    def _write(self, **fields: Any) -> None:
        self._key.configure(fields | {"metadata_cas": self.now.current_metadata_version})
        # Vault neither counts these writes nor looks at the number.
        self.now = replace(self.now, **fields, current_metadata_version=self.now.current_metadata_version + 1)
