"""All of several keys together: an HSM *and* a quorum, each with spares in its place.

Every *leg* gets a random share of 32 bytes, wrapped for each of the leg's recipients: any one of
them opens the leg. The key lies under HKDF of all shares, one after the other. That is the
concatenation of NIST SP 800-56C rev. 2 (section 2, "hybrid" shared secrets) and of Giacon, Heuer,
Poettering ("KEM Combiners", PKC 2018): whoever lacks one share, of 256 random bits, has nothing.
So it withstands a quantum computer as soon as one leg does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import TypeGuard

from strongroom.container import canonical
from strongroom.container.cobblestone import KEY_SIZE, Random, require_key
from strongroom.container.errors import FormatError
from strongroom.container.wrapping import (
    ALL_OF,
    LEAST_LEGS,
    MOST_LEGS,
    MOST_SPARES,
    Identity,
    Legs,
    Recipient,
    Stanza,
    legs_of,
)
from strongroom.errors import StrongroomError, UsageError
from strongroom.keys import BY_LABEL, Opener, keywrap
from strongroom.keys.passphrase import KeyHolder

TYPE = ALL_OF
LABEL = b"strongroom/v1/wrap/all-of/"
LEG = b"strongroom/v1/wrap/all-of/leg/"
_ARGS = frozenset({"legs", "salt", "wrapped"})


class AllOfRecipient(KeyHolder):
    """Seals to the holders of one key of every leg.

    Args:
        legs: for each leg its recipients, any one of which opens it.

    Raises:
        UsageError: too few or too many legs or spares, or an all-of inside another.
    """

    __slots__ = ("_random", "label", "legs")

    type = TYPE

    def __init__(
        self, legs: Sequence[Sequence[Recipient]], *, label: str = "", random: Random = os.urandom
    ) -> None:
        self.legs = tuple(tuple(leg) for leg in legs)
        if not LEAST_LEGS <= len(self.legs) <= MOST_LEGS:
            raise UsageError(f"all-of needs {LEAST_LEGS} to {MOST_LEGS} legs")
        if any(not 1 <= len(leg) <= MOST_SPARES for leg in self.legs):
            raise UsageError(f"a leg of all-of needs 1 to {MOST_SPARES} recipients")
        if any(each.type == TYPE for leg in self.legs for each in leg):
            raise UsageError("an all-of cannot hold another", hint="Write its legs beside the others.")
        self.label = label
        self._random = random

    @property
    def post_quantum(self) -> bool:
        """Whether one leg withstands a quantum computer: for that, each of its spares has to."""
        return any(all(each.post_quantum for each in leg) for leg in self.legs)

    @property
    def fingerprint(self) -> str:
        inner = [[each.fingerprint for each in leg] for leg in self.legs]
        return f"{TYPE}:{hashlib.sha256(canonical.encode(inner)).hexdigest()}"

    def describe(self) -> str:
        return "all of these together: " + "; and ".join(
            " or ".join(each.describe() for each in leg) for leg in self.legs
        )

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        """Wrap a 32-byte key. Raises what a leg's recipients raise: all of them are needed to seal."""
        require_key(key, "key to wrap")
        shares = [self._random(KEY_SIZE) for _ in self.legs]
        legs = tuple(
            tuple(each.wrap(share, context=leg_context(number, len(self.legs), context)) for each in leg)
            for number, (leg, share) in enumerate(zip(self.legs, shares, strict=True))
        )
        encoded = canonical.encode(legs)
        args: dict[str, str | int] = {"legs": encoded.hex()}
        args |= keywrap.wrap(
            b"".join(shares), key, label=_label(encoded), context=context, random=self._random
        )
        return Stanza(type=TYPE, label=self.label, args=args)


class AllOfIdentity(KeyHolder):
    """Opens with the identities of this host, if they open every leg."""

    __slots__ = ("_identities",)

    def __init__(self, identities: Sequence[Identity]) -> None:
        self._identities = tuple(identities)

    def describe(self) -> str:
        if len(self._identities) < LEAST_LEGS:
            return ""  # it is named already, and opens what has it in every leg
        return "and all of them together"

    @property
    def seals(self) -> bool:
        """Whether something can be sealed for all of these together: one alone opens by itself."""
        return LEAST_LEGS <= sum(map(_is_opener, self._identities)) <= MOST_LEGS

    def recipient(self) -> AllOfRecipient:
        """Return the sealing side for which every one of these is needed, where it :attr:`seals`."""
        return AllOfRecipient([[each.recipient()] for each in self._identities if _is_opener(each)])

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        """Return the key, or ``None`` if a leg does not open with what is at hand.

        Raises:
            Malformed: the stanza breaks the format.
            StrongroomError: a key could not be tried, and no spare opened its leg.
        """
        if stanza.type != TYPE:
            return None
        keywrap.require_args(stanza, _ARGS)
        legs = legs_of(stanza)
        keywrap.hex_arg(stanza.args, "salt", keywrap.SALT)
        keywrap.hex_arg(stanza.args, "wrapped", keywrap.WRAPPED)
        shares = []
        for number, leg in enumerate(legs):
            share = self._share(leg, leg_context(number, len(legs), context))
            if share is None:
                return None
            shares.append(share)
        label = _label(bytes.fromhex(str(stanza.args["legs"])))
        return keywrap.unwrap(b"".join(shares), stanza.args, label=label, context=context)

    def _share(self, leg: tuple[Stanza, ...], context: bytes) -> bytes | None:
        """Open a leg with the first key that fits; what cannot be tried, or is malformed, stops no spare."""
        problems: list[StrongroomError] = []
        for identity in self._identities:
            for stanza in leg:
                try:
                    share = identity.unwrap(stanza, context=context)
                except StrongroomError as error:  # as where a backup is opened
                    problems.append(error)
                    continue
                if share is not None:
                    return share
        if problems:
            raise next((each for each in problems if isinstance(each, FormatError)), problems[0])
        return None


def inner(stanza: Stanza) -> Legs:
    """Return the stanzas in an all-of stanza, leg by leg. Raises Malformed."""
    keywrap.require_args(stanza, _ARGS)
    return legs_of(stanza)


def _label(legs: bytes) -> bytes:
    """Bind the whole list of legs: without all shares nobody adds a spare, or renames one."""
    return LABEL + hashlib.sha256(legs).digest()


def leg_context(number: int, count: int, context: bytes) -> bytes:
    """Bind a share to its leg: it neither opens as a stanza of its own nor in another leg's place."""
    return LEG + bytes([number, count]) + context


def _is_opener(identity: Identity) -> TypeGuard[Opener]:
    return hasattr(identity, "recipient")


# -- Which key something is sealed to: one name for it, by which stanzas and recipients are compared


def stanza_key(stanza: Stanza) -> str:
    """Return which key a stanza was wrapped for: its recipient's fingerprint, or type and label."""
    if stanza.type == TYPE:
        return _composed([[stanza_key(way_in) for way_in in leg] for leg in inner(stanza)])
    key = stanza.args.get("key")
    named = isinstance(key, str) and stanza.kind not in BY_LABEL
    return f"{stanza.kind}:{key if named else stanza.label}"


def recipient_key(recipient: Recipient) -> str:
    """Return what :func:`stanza_key` says of a stanza for this recipient."""
    if isinstance(recipient, AllOfRecipient):
        return _composed(
            [[recipient_key(other_recipient) for other_recipient in leg] for leg in recipient.legs]
        )
    by_label = recipient.type in BY_LABEL
    return f"{recipient.type}:{recipient.label}" if by_label else recipient.fingerprint


def _composed(legs: Sequence[Sequence[str]]) -> str:
    return f"{TYPE}:{hashlib.sha256(canonical.encode(legs)).hexdigest()}"
