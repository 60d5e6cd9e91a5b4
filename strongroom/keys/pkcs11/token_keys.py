"""AES key wrap by a key in the HSM: *the host can open*, for it needs the HSM to seal.

The HSM wraps a fresh random data key (RFC 3394, ``CKM_AES_KEY_WRAP``: the one mechanism of its
kind that tokens agree on). That binds nothing, so the key itself lies under the data key as in
every other stanza: AES-256-GCM under HKDF-SHA-512, which binds type, version and context.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import Any

from strongroom.container.derive import KEY_SIZE, Random, require_key
from strongroom.container.errors import Malformed
from strongroom.container.stanza import Stanza
from strongroom.errors import KeyServiceError
from strongroom.keys import keywrap
from strongroom.keys.holder import KeyHolder
from strongroom.keys.pkcs11.failures import FOREIGN, name_of
from strongroom.keys.pkcs11.objects import MAX_VERSION, find, require_use, version_id
from strongroom.keys.pkcs11.session import Token

TYPE = "pkcs11-aes"
LABEL = b"strongroom/v1/wrap/pkcs11-aes/"
_ID_LABEL = b"strongroom/v1/pkcs11-aes-id/"
_ARGS = frozenset({"data_key", "key", "salt", "version", "wrapped"})
_ID = 16
_DATA_KEY = KEY_SIZE + 8  # RFC 3394 2.2.1: one block of 8 bytes more


class HsmAesKey:
    """A wrapping key in a token, by label and version.

    Args:
        key_id: its public id as :func:`generate_aes` gave it, in hex; computed by the HSM on
            first use if left out. With it, another key under the same label is noticed.
    """

    __slots__ = ("_confirmed", "_id", "key", "token", "version")

    def __init__(self, token: Token, *, key: str, version: int, key_id: str | None = None) -> None:
        version_id(version)
        self.token = token
        self.key = key
        self.version = version
        self._id = key_id
        self._confirmed = False

    @property
    def id(self) -> str:
        """The key's public id: a hash of what it wraps zeros to. Raises KeyServiceError."""
        return self._id or self.confirm()

    def confirm(self) -> str:
        """Hold the key in the token to its id, once a process; return the id."""
        if not self._confirmed:
            found = hashlib.sha256(_ID_LABEL + self._wrap(bytes(KEY_SIZE))).digest()[:_ID].hex()
            if self._id not in (None, found):
                raise KeyServiceError(
                    f"{self.describe()} is not the configured one: its id is {found}",
                    hint="Another key lies under that label and version. Do not seal with it.",
                )
            self._id, self._confirmed = found, True
        return self._id or ""

    def describe(self) -> str:
        return f"the HSM key `{self.key}` v{self.version} in {self.token.describe()}"

    def wrap(self, data_key: bytes) -> bytes:
        self.confirm()
        return self._wrap(data_key)

    def unwrap(self, wrapped: bytes) -> bytes | None:
        """Return the data key, or ``None`` if it was not wrapped under this key."""
        self.confirm()
        return self.token.do(lambda session: _unwrap(self._object(session), wrapped))

    def _wrap(self, data_key: bytes) -> bytes:
        return self.token.do(lambda session: _wrap(session, self._object(session), data_key))

    def _object(self, session: Any) -> Any:
        return find(self.token, session, "SECRET_KEY", self.key, self.version)


class Pkcs11AesRecipient(KeyHolder):
    """Seals with an AES key in the HSM."""

    __slots__ = ("_hsm", "_random", "label")

    type = TYPE
    post_quantum = True  # of a 256-bit key, Grover's algorithm leaves 128

    def __init__(self, hsm: HsmAesKey, *, label: str = "", random: Random = os.urandom) -> None:
        self._hsm = hsm
        self._random = random
        self.label = label or hsm.key

    @property
    def fingerprint(self) -> str:
        return f"{TYPE}:{self._hsm.id}"

    def describe(self) -> str:
        return f"{self._hsm.describe()} (AES; the host can open)"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key. Raises KeyServiceError."""
        require_key(key, "key to wrap")
        data_key, version = self._random(KEY_SIZE), self._hsm.version
        args: dict[str, str | int] = {"key": self._hsm.id, "version": version}
        args["data_key"] = self._hsm.wrap(data_key).hex()
        args |= keywrap.wrap(data_key, key, label=_label(version), context=context, random=self._random)
        return Stanza(type=TYPE, label=self.label, args=args)


class Pkcs11AesIdentity(KeyHolder):
    """Opens with an AES key in the HSM."""

    __slots__ = ("_hsm",)

    def __init__(self, hsm: HsmAesKey) -> None:
        self._hsm = hsm

    def describe(self) -> str:
        return self._hsm.describe()

    def recipient(self) -> Pkcs11AesRecipient:
        """Return the sealing side of the same key."""
        return Pkcs11AesRecipient(self._hsm)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key or version opens the stanza.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: the HSM is away or refuses.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        version = keywrap.int_arg(stanza.args, "version")
        if not 1 <= version <= MAX_VERSION:
            raise Malformed("An HSM key's version is out of bounds.")
        wrapped = keywrap.hex_arg(stanza.args, "data_key", _DATA_KEY)
        keywrap.hex_arg(stanza.args, "salt", keywrap.SALT)
        keywrap.hex_arg(stanza.args, "wrapped", keywrap.WRAPPED)
        named = keywrap.hex_arg(stanza.args, "key", _ID)
        if version != self._hsm.version or named.hex() != self._hsm.id:
            return None
        data_key = self._hsm.unwrap(wrapped)
        if data_key is None:
            return None
        return keywrap.unwrap(data_key, stanza.args, label=_label(version), context=context)


def _label(version: int) -> bytes:
    return LABEL + version.to_bytes(2, "big")


def _wrap(session: Any, kek: Any, data_key: bytes) -> bytes:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

    require_use(kek, "wrap_key", "CKA_WRAP")
    made = session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.GENERIC_SECRET,
            Attribute.TOKEN: False,
            Attribute.SENSITIVE: False,
            Attribute.EXTRACTABLE: True,
            Attribute.VALUE: data_key,
        }
    )
    try:
        return bytes(kek.wrap_key(made, mechanism=Mechanism.AES_KEY_WRAP))
    finally:
        with suppress(Exception):  # a session object goes with its session
            made.destroy()


def _unwrap(kek: Any, wrapped: bytes) -> bytes | None:
    from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error

    require_use(kek, "unwrap_key", "CKA_UNWRAP")
    template = {Attribute.TOKEN: False, Attribute.SENSITIVE: False, Attribute.EXTRACTABLE: True}
    try:
        made = kek.unwrap_key(
            ObjectClass.SECRET_KEY,
            KeyType.GENERIC_SECRET,
            wrapped,
            mechanism=Mechanism.AES_KEY_WRAP,
            template=template,
        )
    except PKCS11Error as error:
        if name_of(error) not in FOREIGN:
            raise
        # "General error" is also what a token says that is gone: one that still answers is not.
        kek[Attribute.KEY_TYPE]
        return None
    try:
        value = bytes(made[Attribute.VALUE])
        return value if len(value) == KEY_SIZE else None
    finally:
        with suppress(Exception):  # as above
            made.destroy()
