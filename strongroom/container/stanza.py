"""What the format knows of recipients and identities: who can wrap and unwrap a key.

A *recipient* needs only what sealing needs (for HPKE the public half). An *identity*
can open. Both speak in :class:`Stanza`, the wrapped copy of one 32-byte key.
The implementations live in :mod:`strongroom.keys`, which gives these names on.
"""

from __future__ import annotations

from typing import Final, Protocol

from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.errors import Malformed

ALL_OF: Final = "all-of"
LEAST_LEGS, MOST_LEGS, MOST_SPARES = 2, 8, 8

PBKDF2: Final = "passphrase"
SCRYPT: Final = "scrypt"
ITERATIONS: Final = range(100_000, 10_000_001)
"""Rounds of PBKDF2-HMAC-SHA-256 that a stanza may ask for."""
LOG_N: Final = range(15, 21)
"""Powers of two that scrypt's N may be: 32 MiB to 1 GiB."""


class Stanza(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One wrapped copy of a key.

    ``args`` holds lower-case hex strings and integers only, so that every JSON decoder
    reads the same and re-encoding is identical. Unknown types are carried and skipped.
    """

    type: str
    label: str
    args: dict[str, str | int]

    @property
    def kind(self) -> str:
        """What people call what opens it: a passphrase is one, however its key is derived."""
        return PBKDF2 if self.type == SCRYPT else self.type


Legs = tuple[tuple[Stanza, ...], ...]


def legs_of(stanza: Stanza) -> Legs:
    """Return the stanzas in an all-of stanza, leg by leg. Raises Malformed."""
    text = stanza.args.get("legs")
    if not isinstance(text, str):
        raise Malformed("An all-of stanza's legs are not hex.")
    data = canonical.unhex(text, len(text) // 2, "An all-of stanza's list of legs")
    legs = canonical.decode(data, Legs, "An all-of stanza's list of legs")
    if not LEAST_LEGS <= len(legs) <= MOST_LEGS or any(not 1 <= len(leg) <= MOST_SPARES for leg in legs):
        raise Malformed("An all-of stanza has too few or too many legs.")
    if any(each.type == ALL_OF for leg in legs for each in leg):
        raise Malformed("An all-of stanza is inside another.")
    return legs


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
