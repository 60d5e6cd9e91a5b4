"""Destroying a key in an HSM: its objects are removed from the token, and looked for anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from strongroom.container.stanza import Identity, Stanza
from strongroom.keys import Opener
from strongroom.keys.destroying import Fate, KeyVersionState
from strongroom.keys.pkcs11.objects import search
from strongroom.keys.pkcs11.session import Token

KINDS = ("PRIVATE_KEY", "SECRET_KEY", "PUBLIC_KEY")
"""The half that opens first: whatever comes next, that one is gone."""


class HsmDestroyer:
    """The key of one label and version in a token.

    Args:
        public: what its stanzas call it, ``type:id``; asked for on use.
        opener: its opening side.
    """

    renews = False

    def __init__(
        self, name: str, token: Token, *, label: str, public: Callable[[], str], opener: Opener
    ) -> None:
        self.name = name
        self._token = token
        self._label = label
        self._public = public
        self._opener = opener

    def owns(self, stanza: Stanza) -> bool:
        return (
            stanza.type in ("pkcs11-ec", "pkcs11-aes")
            and f"{stanza.type}:{stanza.args.get('key')}" == self._public()
        )

    def takes(self, version: int, other: int) -> bool:
        return version == other

    def look(self, version: int) -> KeyVersionState:
        """Begin with the token anew, and look what it has."""
        self._token.begin_again()
        return self._token.do(lambda session: self._look(session, version))

    def prepare(self, version: int) -> None:
        """Do nothing: the policy has to name another key first."""

    def destroy(self, version: int) -> None:
        def remove(session: Any) -> None:
            for kind in KINDS:
                for key in search(session, kind, self._label, version):
                    key.destroy()

        self._token.do_writing(remove)

    def identity(self, version: int) -> Identity:  # noqa: ARG002 - the opener is of one version
        return self._opener

    def _look(self, session: Any, version: int) -> KeyVersionState:
        serial = session.token.serial.decode("utf-8", "replace").strip("\0 ")
        keys = [key for kind in KINDS[:2] for key in search(session, kind, self._label, version)]
        return KeyVersionState(
            fate=Fate.THERE if keys else Fate.GONE,
            where=f"{self._token.describe()}, serial number {serial}",
            absent=not keys,
            doubts=tuple(dict.fromkeys(doubt for key in keys for doubt in _doubts(key))),
            answer={"keys": len(keys), "label": self._label, "serial": serial, "version": version},
        )


def _doubts(key: Any) -> Iterator[str]:
    """Only of a key that was made in the token and could never leave it there is no other copy."""
    from pkcs11 import Attribute, PKCS11Error

    wanted = {
        Attribute.LOCAL: "the key was not made in the token",
        Attribute.NEVER_EXTRACTABLE: "the key could be taken out of the token",
    }
    for attribute, words in wanted.items():
        try:
            good = bool(key[attribute])
        except PKCS11Error:
            good = False
        if not good:
            yield words
