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

from strongroom.container.canonical import check_hex, printable
from strongroom.container.errors import Malformed, UntrustedSigner, before_first_release
from strongroom.container.signing import Certificate, CertifiedSigner, Signer, Signers, fingerprint
from strongroom.container.statement import MAX_NUMBER, Signed, StatementKind, is_time
from strongroom.model import prepare

ROLE = "installation"
FOLDER = "trust/"
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


class TrustListKind(StatementKind[TrustList], frozen=True, kw_only=True):
    """Trust lists: of each installation the highest number counts."""

    def name_of(self, statement: TrustList, content: bytes) -> str:
        return statement.object_name

    def is_named(self, name: str, statement: TrustList, content: bytes) -> bool:
        return number_in(name) == statement.number  # copies of one lie beside it

    def admit(self, certificate: Certificate) -> None:
        if certificate.key != certificate.installation:
            raise UntrustedSigner(
                "Signed by another key than the installation's own, which alone signs this."
            )

    def check(self, statement: TrustList) -> None:
        check_number(statement.number, "The trust list's number", lowest=1)
        keys = [distrusted.key for distrusted in statement.distrusted]
        check_hex([*keys, *filter(None, [statement.successor])], 32, "A key on the trust list")
        if any(later <= former for former, later in pairwise(keys)):
            raise Malformed("The keys on the trust list do not ascend.")
        if not all(printable(distrusted.reason, MAX_REASON) for distrusted in statement.distrusted):
            raise Malformed("A reason on the trust list is too long, or cannot be printed.")
        if not all(
            map(is_time, (statement.made_at, *(distrusted.since for distrusted in statement.distrusted)))
        ):
            raise Malformed("A time on the trust list is malformed, or has no zone.")


TRUST_LIST = TrustListKind(
    name="trust",
    words="trust list",
    roles=(ROLE,),
    most=1024 * 1024,
    record=TrustList,
    moment="",
    prefix=FOLDER,
    pattern=r"()[0-9]{8}\.json(?:\.r[1-9])?",  # they are about all keys: there is one folder
)
SignedTrustList = Signed[TrustList]


def sign_list(made: TrustList, installation: Signer) -> bytes:
    """Return the list's file, signed by the installation key itself."""
    TRUST_LIST.check(made)  # its time goes into the certificate
    issued_at = datetime.fromisoformat(made.made_at)
    signer = CertifiedSigner.issued(installation, installation=installation, role=ROLE, issued_at=issued_at)
    return TRUST_LIST.sign(made, signer)


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
        numbers |= {signer: max(highest, numbers.get(signer, 0)) for signer in chain}
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
        for trust_list in own
        if trust_list.number == _highest(chain)
        for key in trust_list.distrusted
    ]


_Chain = Mapping[str, Sequence[TrustList]]


def _chains(pins: Iterable[str], lists: Sequence[SignedTrustList]) -> list[_Chain]:
    by_signer: dict[str, list[TrustList]] = {}
    for signed in lists:
        by_signer.setdefault(signed.certificate.fingerprint, []).append(signed.statement)
    return [_chain(pin, by_signer) for pin in sorted(pins)]


def _highest(chain: _Chain) -> int:
    return max((each.number for own in chain.values() for each in own), default=0)


def _chain(pin: str, by_signer: _Chain) -> _Chain:
    """Return the highest lists of an installation and of each that follows it, by their fingerprints."""
    chain: dict[str, list[TrustList]] = {}
    following = [pin]
    while following:
        signer = following.pop()
        if signer not in chain:
            own = by_signer.get(signer, ())
            highest = max((each.number for each in own), default=0)
            chain[signer] = [each for each in own if each.number == highest]
            following += [fingerprint(bytes.fromhex(o.successor)) for o in chain[signer] if o.successor]
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
