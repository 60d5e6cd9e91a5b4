"""What the format knows of recipients and identities: who can wrap and unwrap a key.

A *recipient* needs only what sealing needs (for HPKE the public half). An *identity*
can open. Both speak in :class:`Stanza`, the wrapped copy of one 32-byte key.
The implementations live in :mod:`strongroom.keys`, which gives these names on.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class Stanza(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wrapped copy of a key.

    ``args`` holds lower-case hex strings and integers only, so that every JSON decoder
    reads the same and re-encoding is identical. Unknown types are carried and skipped.
    """

    type: str
    label: str
    args: dict[str, str | int]


class Recipient(Protocol):
    """Something that can wrap a key.

    ``fingerprint`` is public, stable and tells two recipients of one type apart; a run
    freezes it, and a worker refuses a run whose fingerprints are not its own.
    """

    @property
    def type(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def post_quantum(self) -> bool: ...

    def describe(self) -> str:
        """Say in words who can open ("the holder of private key `recovery`")."""
        ...

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key. ``context`` is bound; unwrapping with another fails."""
        ...


class Identity(Protocol):
    """Something that can unwrap."""

    def describe(self) -> str:
        """Say in words what this is, for the list of attempts in an error."""
        ...

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the 32-byte key, or ``None`` if this stanza is not for this identity.

        "Not mine" includes a failed authentication: the caller cannot tell a wrong
        passphrase from a stanza for another one. Raises a typed error only when trying
        further is pointless or dangerous (for instance work factors out of bounds:
        :class:`~strongroom.container.errors.Malformed`).
        """
        ...
