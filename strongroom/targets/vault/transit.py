"""A second lock on each chunk: a transit key of the same server."""

from __future__ import annotations

import base64

import msgspec
from msgspec import Struct

from strongroom.errors import TargetError
from strongroom.model import prepare
from strongroom.targets.vault.entries import Entries
from strongroom.vault.failures import TOO_OLD, VaultRefused

MOUNT = "transit"


class _TransitSealed(Struct):
    ciphertext: str


class _SealedAnswer(Struct):
    data: _TransitSealed


class _Opened(Struct):
    plaintext: str


class _OpenedAnswer(Struct):
    data: _Opened


prepare(_SealedAnswer, _OpenedAnswer)
_SEALED = msgspec.json.Decoder(_SealedAnswer)
_OPENED = msgspec.json.Decoder(_OpenedAnswer)


class Transit:
    """Encrypts and decrypts with one key.

    No associated data goes with it, since a rewrap could not keep that; that a chunk lies in
    its place, its digest in the head shows.

    Args:
        key: ``MOUNT/NAME``, or ``NAME`` under ``transit``.
    """

    def __init__(self, key: str, entries: Entries) -> None:
        mount, _, name = key.strip("/").rpartition("/")
        self._mount = mount or MOUNT
        self._key = name
        self._entries = entries

    @property
    def key(self) -> str:
        """The key as a head names it."""
        return f"{self._mount}/{self._key}"

    def encrypt(self, piece: bytes, *, doing: str) -> str:
        """Return what the server makes of it, ``vault:vN:…``. Raises TargetError."""
        plain = base64.b64encode(piece).decode()
        with self._entries.explained(doing, writing=True):
            answer = self._entries.vault.transit.encrypt_data(self._key, plain, mount_point=self._mount)
            if not answer.found:
                raise self._refused(f"there is no transit mount '{self._mount}'")
            return str(answer.read(_SEALED).data.ciphertext)

    def decrypt(self, text: str, *, doing: str) -> bytes:
        """Return what was encrypted, or, if that was changed, the changed text as it lies.

        Raises :class:`~strongroom.errors.TargetError` if the key no longer opens that version.
        """
        with self._entries.explained(doing, writing=False):
            try:
                answer = self._entries.vault.transit.decrypt_data(self._key, text, mount_point=self._mount)
            except VaultRefused as refused:
                if refused.reason == TOO_OLD:
                    raise self._refused(f"the key '{self.key}' no longer opens chunks of this age") from None
                return text.encode()
            if not answer.found:
                raise self._refused(f"there is no transit mount '{self._mount}'")
            return base64.b64decode(answer.read(_OPENED).data.plaintext)

    def _refused(self, what: str) -> TargetError:
        return TargetError(f"{self._entries.titled}: {what}", hint=_KEY)


_KEY = (
    "The chunks are not damaged. Bring the transit key back, or lower its 'min_decryption_version'; "
    "read from another target meanwhile."
)
