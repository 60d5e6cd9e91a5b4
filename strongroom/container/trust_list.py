"""The trust list: what an installation key says of the keys that it certified, wherever backups lie.

A role's key that leaked is on it, with since when and why, and so is the installation key's successor if
it is handed over. Each list is whole, and the highest number counts, so a reader who knows the
installation's fingerprint alone learns of a leak from any target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from msgspec import Struct

from strongroom.container import canonical, document
from strongroom.container.canonical import check_hex, printable
from strongroom.container.certificate import Certificate, CertifiedSigner
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed, UntrustedSigner, before_first_release
from strongroom.container.signing import Signer, Signers, fingerprint
from strongroom.model import prepare

ROLE = "installation"
TRUST_LIST = Kind("trust", "trust list", (ROLE,))
FOLDER = "trust/"
MAX_LIST = 1024 * 1024
MAX_NUMBER = 99_999_999
MAX_REASON = 1_000
_NAME = re.compile(r"trust/([0-9]{8})\.json(?:\.r[1-9])?")


class Distrusted(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key (the public half, in hex) whose signatures count for nothing; ``since`` is RFC 3339."""

    key: str
    since: str
    reason: str

    @property
    def fingerprint(self) -> str:
        """What people compare."""
        return fingerprint(bytes.fromhex(self.key))

    @property
    def words(self) -> str:
        """Since when and why, for people."""
        return f"{self.since}: {self.reason}"


class TrustList(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every key of an installation that counts for nothing, and the installation key (public, in hex)
    that follows the one which signs this, if there is one."""

    number: int
    distrusted: tuple[Distrusted, ...]
    successor: str | None
    made_at: str

    @property
    def object_name(self) -> str:
        """Its name on every target."""
        return f"{FOLDER}{self.number:08}.json"


prepare(TrustList)


class SignedTrustList(Struct, frozen=True):
    """A parsed list, with the certificate of the installation key that signed it."""

    list: TrustList
    certificate: Certificate

    @property
    def fingerprint(self) -> str:
        """The installation's fingerprint."""
        return self.certificate.fingerprint


def sign_list(made: TrustList, installation: Signer) -> bytes:
    """Return the list's file. The same list and key give the same bytes."""
    check_list(made)
    issued_at = datetime.fromisoformat(made.made_at)
    signer = CertifiedSigner.issued(installation, installation=installation, role=ROLE, issued_at=issued_at)
    data = document.write(TRUST_LIST, canonical.encode(made), signer)
    if len(data) > MAX_LIST:
        raise Malformed("The trust list would be larger than the format allows.")
    return data


def open_list(data: bytes, *, trusted: frozenset[str] | None) -> SignedTrustList:
    """Parse strictly and check the signature.

    Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, UntrustedSigner, Malformed;
    Malformed first of all if it is too large.
    """
    if len(data) > MAX_LIST:
        raise Malformed("The trust list is larger than the format allows.")
    parsed = document.parse(TRUST_LIST, data, trusted=trusted)
    if parsed.certificate.key != parsed.certificate.installation:
        raise UntrustedSigner("Signed by another key than the installation's own, which alone signs this.")
    made = canonical.decode(parsed.body, TrustList, "The trust list")
    check_list(made)
    return SignedTrustList(made, parsed.certificate)


def check_list(made: TrustList) -> None:
    """Hold a list to the format's rules; raise Malformed."""
    check_number(made.number, "The trust list's number", lowest=1)
    keys = [one.key for one in made.distrusted]
    check_hex([*keys, *filter(None, [made.successor])], 32, "A key on the trust list")
    if any(later <= former for former, later in pairwise(keys)):
        raise Malformed("The keys on the trust list do not ascend.")
    if not all(printable(one.reason, MAX_REASON) for one in made.distrusted):
        raise Malformed("A reason on the trust list is too long, or cannot be printed.")
    if not all(map(_is_time, (made.made_at, *(one.since for one in made.distrusted)))):
        raise Malformed("A time on the trust list is malformed, or has no zone.")


def check_number(number: int, what: str, *, lowest: int = 0) -> None:
    """Hold the number of a trust list to its range; raise Malformed. Manifests and heads state one, or 0."""
    if not lowest <= number <= MAX_NUMBER:
        raise Malformed(f"{what} is out of its range.")


def with_lists(pins: Signers, lists: Sequence[SignedTrustList]) -> Signers:
    """Return who counts where these lists were found, of whomever: those of the pinned installations count.

    Of an installation the highest number counts, and of two with one number both. The successor that its
    highest list names is pinned too, and its lists go on with the numbers.
    """
    numbers: dict[str, int] = {}
    for chain in _chains(pins, lists):
        highest = _highest(chain)
        numbers |= {one: max(highest, numbers.get(one, 0)) for one in chain}
    distrusted = {key.fingerprint: key.words for key in counting(pins, lists)}
    # Of a key that a person named it is known by now that it is no installation.
    lifted = pins.lifted & distrusted.keys()
    distrusted = {key: why for key, why in distrusted.items() if key not in lifted}
    return Signers(
        numbers.keys() - lifted,
        retired=pins.retired,
        distrusted={**distrusted, **pins.distrusted},
        lists=numbers,
        lifted=pins.lifted,
    )


def counting(pins: Iterable[str], lists: Sequence[SignedTrustList]) -> list[Distrusted]:
    """Return the keys that count for nothing, by those of these lists that count."""
    return [
        key
        for chain in _chains(pins, lists)
        for own in chain.values()
        for one in own
        if one.number == _highest(chain)
        for key in one.distrusted
    ]


_Chain = Mapping[str, Sequence[TrustList]]


def _chains(pins: Iterable[str], lists: Sequence[SignedTrustList]) -> list[_Chain]:
    by_signer: dict[str, list[TrustList]] = {}
    for signed in lists:
        by_signer.setdefault(signed.fingerprint, []).append(signed.list)
    return [_chain(pin, by_signer) for pin in sorted(pins)]


def _highest(chain: _Chain) -> int:
    return max((each.number for own in chain.values() for each in own), default=0)


def _chain(pin: str, by_signer: _Chain) -> _Chain:
    """Return the highest lists of an installation and of each that follows it, by their fingerprints."""
    chain: dict[str, list[TrustList]] = {}
    following = [pin]
    while following:
        one = following.pop()
        if one not in chain:
            own = by_signer.get(one, ())
            highest = max((each.number for each in own), default=0)
            chain[one] = [each for each in own if each.number == highest]
            following += [fingerprint(bytes.fromhex(o.successor)) for o in chain[one] if o.successor]
    return chain


_TAIL = 128


def require_numbered(body: bytes, last: bytes, what: str) -> None:
    """Refuse a body of before the first release, which ends where the number of a trust list has to follow.

    Args:
        last: the member that was the last one then.
    """
    if re.search(rb',"%b":(?:null|"[^"\\]*")\}\Z' % last, body[-_TAIL:]):
        raise before_first_release(what)


def number_in(name: str) -> int | None:
    """Return the number that the name of a list on a target says, a copy's too; ``None`` if it is none."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
