"""Destroying versions of a transit key: trimmed, they are gone from Vault's storage.

Vault trims from below: destroying a version takes all older ones with it. A raised
``min_decryption_version`` refuses too, and can be lowered again: only what was trimmed is gone.
"""

from __future__ import annotations

from strongroom.container.stanza import Identity, Stanza
from strongroom.keys.destroying import Fate, KeyVersionState
from strongroom.keys.errors import KeyNotDestroyed, KeyNotFound
from strongroom.keys.transit import TYPE, TransitIdentity, TransitKey

_SHOWN = (
    "allow_plaintext_backup",
    "exportable",
    "imported_key",
    "latest_version",
    "min_available_version",
    "min_decryption_version",
    "min_encryption_version",
    "type",
)


class TransitDestroyer:
    """A key of a Vault's transit engine."""

    renews = True

    def __init__(self, name: str, transit: TransitKey) -> None:
        self.name = name
        self._transit = transit

    def owns(self, stanza: Stanza) -> bool:
        return stanza.type == TYPE and stanza.args.get("key") == self._transit.id.hex()

    def takes(self, version: int, other: int) -> bool:
        return other <= version

    def look(self, version: int) -> KeyVersionState:
        """Ask Vault for the key's versions."""
        where = self._transit.place
        try:
            found = self._transit.settings()
        except KeyNotFound as error:
            doubt = "the whole key is not there, as it would not be at a wrong address"
            return KeyVersionState(fate=Fate.GONE, where=where, doubts=(doubt,), answer={"said": error.code})
        trimmed = _number(found, "min_available_version") > version
        return KeyVersionState(
            fate=Fate.GONE if trimmed else Fate.THERE,
            where=where,
            doubts=tuple(_doubts(found)),
            answer={name: found[name] for name in _SHOWN if isinstance(found.get(name), str | int)},
        )

    def prepare(self, version: int) -> None:
        """Rotate the key if it still seals under that version."""
        if _number(self._transit.settings(), "latest_version") <= version:
            self._transit.change("rotate", {})

    def destroy(self, version: int) -> None:
        """Trim that version and all before it.

        Raises:
            KeyNotDestroyed: it is the newest, and has to be rotated first.
        """
        found = self._transit.settings()
        if _number(found, "min_available_version") > version:
            return
        oldest = version + 1
        if _number(found, "latest_version") < oldest:
            raise KeyNotDestroyed(f"{self._transit.describe()} still seals under v{version}")
        limits = ("min_decryption_version", "min_encryption_version")
        self._transit.change("config", {name: max(oldest, _number(found, name)) for name in limits})
        self._transit.change("trim", {"min_available_version": oldest})

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - Vault finds the version in what it opens
        return TransitIdentity(self._transit)


def _number(found: dict[str, object], name: str) -> int:
    value = found.get(name, 0)
    return value if isinstance(value, int) else 0


def _doubts(found: dict[str, object]) -> list[str]:
    """A key that could be taken out of Vault may lie elsewhere."""
    said = {
        "exportable": "the key may have been exported",
        "allow_plaintext_backup": "the key may have been backed up in plaintext",
        "imported_key": "the key was made outside of Vault",
    }
    return [words for name, words in said.items() if found.get(name)]
