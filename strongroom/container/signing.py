"""Ed25519 signatures (RFC 8032), each bound to a domain so that none passes for another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import NoReturn, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from strongroom.container.errors import Tampered

PUBLIC = 32
SIGNATURE = 64
SIGNERS = 256
"""Public keys that are kept ready: thousands of documents are of a few signers."""


@lru_cache(maxsize=SIGNERS)
def fingerprint(public: bytes) -> str:
    """Return what people compare: ``sr1:`` and the SHA-256 of the raw public key in hex."""
    return "sr1:" + hashlib.sha256(public).hexdigest()


class Signer:
    """A private Ed25519 key. Neither ``repr`` nor pickle shows it."""

    __slots__ = ("_private", "fingerprint", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public: bytes = private.public_key().public_bytes_raw()
        self.fingerprint: str = fingerprint(self.public)

    @classmethod
    def generate(cls) -> Signer:
        """Make a new key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_private(cls, private: bytes) -> Signer:
        """Load the 32 raw private bytes that :meth:`private_bytes` gave."""
        return cls(Ed25519PrivateKey.from_private_bytes(private))

    def private_bytes(self) -> bytes:
        """Return the 32 raw private bytes, for the key's own file and nowhere else."""
        return self._private.private_bytes_raw()

    def sign(self, domain: bytes, message: bytes) -> bytes:
        """Sign ``domain || 0x00 || message``; 64 bytes."""
        return self._private.sign(_bound(domain, message))

    def __repr__(self) -> str:
        return f"Signer({self.fingerprint})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a signing key must not be pickled")


_SMALL_ORDER = frozenset(
    [
        *(y.to_bytes(32, "little") for y in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ]
)
"""The points of edwards25519 of order 1, 2, 4 and 8, also as no writer spells them, without the sign of x."""


def is_small_order(public: bytes) -> bool:
    """Tell whether a public key is one under which a signature fits any message, or one of eight."""
    return public[:-1] + bytes([public[-1] & 0x7F]) in _SMALL_ORDER


def verify(public: bytes, domain: bytes, message: bytes, signature: bytes) -> None:
    """Return if the signature is right; raise :class:`~strongroom.container.errors.Tampered` if not."""
    try:
        _handle(public).verify(signature, _bound(domain, message))
    except (InvalidSignature, ValueError):
        raise unfit(domain) from None


@lru_cache(maxsize=SIGNERS)
def _handle(public: bytes) -> Ed25519PublicKey:
    if is_small_order(public):
        raise ValueError("nobody alone holds such a key")
    return Ed25519PublicKey.from_public_bytes(public)


def verify_any(publics: Sequence[bytes], domain: bytes, message: bytes, signature: bytes) -> bytes:
    """Return which of several keys made a signature, a role's versions; raise Tampered if none did."""
    for public in publics:
        try:
            verify(public, domain, message, signature)
        except Tampered:
            continue
        return public
    raise unfit(domain)


def unfit(domain: bytes) -> Tampered:
    """Return what is said of a signature that does not fit, by what it should sign."""
    what = domain.rpartition(b"/")[2].decode().replace("-", " ")
    return Tampered(f"The signature of the {what} does not fit: its bytes were changed after it was signed.")


class Signers(frozenset[str]):
    """Fingerprints of the installations whose signatures count, and what is known of some of their keys.

    ``retired`` says until when what a role's key makes counts (RFC 3339): a key that was rotated away
    stays good for what it signed then. ``distrusted`` are the keys that do not count any more, with
    since when and why. Both are by the role key's own fingerprint; they narrow trust and never widen it.
    ``lists`` has the number of the highest trust list that was found of an installation, by its fingerprint,
    where the places that are read were asked for lists; whoever states a higher one is not believed.
    ``lifted`` are the keys that a person named, which no list distrusts.
    ``strangers`` has what installations that are not pinned say of their own keys, where that was asked: it
    counts for what they made, and for nothing else.
    """

    retired: Mapping[str, str]
    distrusted: Mapping[str, str]
    lists: Mapping[str, int]
    lifted: frozenset[str]
    strangers: Mapping[str, Signers] | None

    def __new__(
        cls,
        trusted: Iterable[str] = (),
        *,
        retired: Mapping[str, str] | None = None,
        distrusted: Mapping[str, str] | None = None,
        lists: Mapping[str, int] | None = None,
        lifted: Iterable[str] = (),
        strangers: Mapping[str, Signers] | None = None,
    ) -> Self:
        signers = super().__new__(cls, trusted)
        signers.retired, signers.distrusted = dict(retired or {}), dict(distrusted or {})
        signers.lists, signers.lifted = dict(lists or {}), frozenset(lifted)
        signers.strangers = strangers
        return signers

    def __or__(self, other: AbstractSet[object]) -> Signers:
        """Return these and others; a key that either distrusts is distrusted."""
        more = other if isinstance(other, Signers) else Signers(str(fingerprint) for fingerprint in other)
        return Signers(
            {*self, *more},
            retired={**more.retired, **self.retired},
            distrusted={**more.distrusted, **self.distrusted},
            lists={**more.lists, **self.lists},
            lifted=self.lifted | more.lifted,
            strangers=more.strangers if self.strangers is None else self.strangers,
        )

    __ror__ = __or__

    def with_named(self, fingerprints: Iterable[str]) -> Signers:
        """Return these and those that a person named.

        An installation's fingerprint is pinned. That of a key which is retired or distrusted here is
        believed again, as long as its installation is; it is not pinned: whoever holds a leaked key
        could certify others with it.
        """
        named = frozenset(fingerprints)
        keys = named & (self.retired.keys() | self.distrusted.keys())
        return Signers(
            {*self, *(named - keys)},
            retired={
                fingerprint: until for fingerprint, until in self.retired.items() if fingerprint not in keys
            },
            distrusted={
                fingerprint: why for fingerprint, why in self.distrusted.items() if fingerprint not in keys
            },
            lists=self.lists,
            lifted=self.lifted | named,
            strangers=self.strangers,
        )

    def of_stranger(self, installation: str) -> Signers:
        """Return an installation that is not pinned, alone: by what it says itself of its keys, too."""
        own = (self.strangers or {}).get(installation, Signers())
        return Signers(
            [installation],
            retired=self.retired,
            distrusted={**own.distrusted, **self.distrusted},
            lists={} if self.strangers is None else {installation: own.lists.get(installation, 0)},
        )


def ever_trusted(trusted: frozenset[str]) -> frozenset[str]:
    """Return these installations, with their retired and distrusted keys counting as they once did."""
    return frozenset(trusted)


def _bound(domain: bytes, message: bytes) -> bytes:
    if b"\x00" in domain:
        raise ValueError("a domain holds no zero byte")
    return domain + b"\x00" + message
