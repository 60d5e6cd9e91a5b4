"""A key of AWS KMS, of one region: *whoever may decrypt with it can open*.

KMS encrypts the wrapping key itself, with an encryption context that names the wrapping key: that
is associated data of its AES-256-GCM, and stands in CloudTrail at every use. One recipient is one
region's key. Name several regions' keys, and losing a region loses nothing.
"""

from __future__ import annotations

import hashlib

from strongroom.container.derive import require_key
from strongroom.container.errors import Malformed
from strongroom.container.stanza import Stanza
from strongroom.keys import keywrap
from strongroom.keys.holder import KeyHolder
from strongroom.keys.kms.service import Kms

TYPE = "kms"
_ID_LABEL = b"strongroom/v1/kms-id/"
_ARGS = frozenset({"arn", "blob"})
_MAX_ARN, _MAX_BLOB = 2048, 6144
"""What the service itself allows."""


class KmsRecipient(KeyHolder):
    """Seals to a key of KMS."""

    __slots__ = ("_kms", "label")

    type = TYPE
    post_quantum = True  # the key is symmetric, of 256 bits, and never leaves KMS

    def __init__(self, kms: Kms, *, label: str = "") -> None:
        self._kms = kms
        self.label = label or kms.options.region

    @property
    def fingerprint(self) -> str:
        place = f"{self._kms.options.region} {self._kms.options.key_id}".encode()
        return f"{TYPE}:{hashlib.sha256(_ID_LABEL + place).hexdigest()}"

    def describe(self) -> str:
        return f"anyone who may decrypt with {self._kms.describe()}"

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key.

        Raises:
            KeyDisabled, KeyPendingDeletion: nothing is sealed for a key that is on its way out.
            KeyServiceError: KMS refuses, is away, or has no such key.
        """
        require_key(key, "key to wrap")
        self._kms.require_usable()
        arn, blob = self._kms.encrypt(key, context=context.hex())
        args: dict[str, str | int] = {"arn": arn.encode().hex(), "blob": blob.hex()}
        return Stanza(type=TYPE, label=self.label, args=args)


class KmsIdentity(KeyHolder):
    """Opens where KMS lets us decrypt."""

    __slots__ = ("_kms",)

    def __init__(self, kms: Kms) -> None:
        self._kms = kms

    def describe(self) -> str:
        return self._kms.describe()

    def recipient(self) -> KmsRecipient:
        """Return the sealing side."""
        return KmsRecipient(self._kms)

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if another key opens the stanza.

        KMS is asked to decrypt with *our* key, whatever the stanza names.

        Raises:
            Malformed: the stanza breaks the format.
            KeyServiceError: KMS refuses, is away, or the key is disabled or on its way out.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        arn, blob = arn_of(stanza), _hex(stanza, "blob", _MAX_BLOB)
        if not self._kms.may_be(arn):
            return None
        found = self._kms.decrypt(blob, context=context.hex())
        return found.key if found is not None and found.arn == arn and len(found.key) == 32 else None


def arn_of(stanza: Stanza) -> str:
    """Return which key a stanza is for. Raises Malformed."""
    try:
        arn = _hex(stanza, "arn", _MAX_ARN).decode("ascii")
    except UnicodeDecodeError:
        arn = ""
    if not arn.isprintable():
        arn = ""
    return arn


def _hex(stanza: Stanza, name: str, most: int) -> bytes:
    text = stanza.args[name]
    size = len(text) // 2 if isinstance(text, str) else 0
    if not 1 <= size <= most:
        raise Malformed(f"A KMS stanza's {name} is of a length that the service does not have.")
    return keywrap.hex_arg(stanza.args, name, size)
