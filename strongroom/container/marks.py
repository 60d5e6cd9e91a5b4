"""Signed, numbered statements about backups, cases and keys, as bytes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Generic, Literal, TypeVar

from msgspec import Struct, structs

from strongroom.container import canonical, document
from strongroom.container.canonical import check_hex, printable, unhex
from strongroom.container.document import DocumentKind
from strongroom.container.errors import Malformed, UntrustedSigner, before_first_release
from strongroom.container.signing import (
    MANIFEST_ROLES,
    Certificate,
    CertifiedSigner,
    Signer,
    Signers,
    fingerprint,
    require_in_time,
    require_listed,
)
from strongroom.model import Role, prepare

# -- Signed statements: small records that lie beside the backups, signed, and never changed ----
#
# What all kinds have in common stands here: one frame, one limit of size, one order of checks. A kind is an
# entry of a few lines: its record, who may sign it, and the rules that it alone has. None is ever replaced,
# so they work under Object Lock; which of several counts is for
# :mod:`strongroom.operations.engine.statements` to judge.


S = TypeVar("S", bound=Struct)

MAX_NUMBER = 99_999_999
"""The highest number of a statement: eight digits of its name."""


class Signed(Struct, Generic[S], frozen=True):
    """A statement whose signature fits, and the certificate of the key that made it."""

    statement: S
    certificate: Certificate

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the installation whose key made it."""
        return self.certificate.fingerprint


class StatementKind(DocumentKind, Generic[S], frozen=True, kw_only=True):
    """A kind of statement.

    Args:
        record: what it says.
        most: how many bytes its file has at most.
        moment: the field with the time of its signature; empty if nobody asks when it was made.
        prefix: what its names on a target begin with; empty if it has no place of its own there.
        pattern: what follows there. Its first group is the folder: what the statement is about.
        hidden: makes the statement that stands for one that may lie hidden, of its folder, a reason and a
            time; ``None`` where nothing may stand for it.
    """

    record: type[S]
    moment: str = "at"
    prefix: str = ""
    pattern: str = ""
    hidden: Callable[[str, str, str], S] | None = None

    def name_of(self, statement: S, content: bytes) -> str:
        """Return a statement's name on every target."""
        raise NotImplementedError

    def is_named(self, name: str, statement: S, content: bytes) -> bool:
        """Tell whether a statement may lie under a name: one that was renamed or moved counts for nothing."""
        return name == self.name_of(statement, content)

    def check(self, statement: S) -> None:
        """Hold a statement to the rules of its kind; raise Malformed."""

    def admit(self, certificate: Certificate) -> None:
        """Return if this key may sign such statements at all; raise UntrustedSigner."""

    def judge(self, statement: S, certificate: Certificate) -> None:
        """Return if this key may say what the statement says; raise UntrustedSigner."""

    def require(self, signed: Signed[S], trusted: frozenset[str] | None) -> None:
        """Return if all is known here that a statement says must be; raise TrustListMissing."""

    def recognize(self, body: bytes) -> None:
        """Return if this version of the format spells it so; raise UnsupportedVersion."""

    def sign(self, statement: S, signer: CertifiedSigner) -> bytes:
        """Return a statement's file. The same statement and signer give the same bytes.

        Raises:
            Malformed: it says what none may, or would be larger than the format allows.
        """
        self.check(statement)
        return document.write(self, canonical.encode(statement), signer)

    def open(self, data: bytes, *, trusted: frozenset[str] | None) -> Signed[S]:
        """Parse strictly and check the signature. ``trusted=None`` accepts any installation's.

        Raises, in this order: NotABackup, UnsupportedVersion, Truncated, Tampered, UntrustedSigner,
        UnsupportedVersion of before the first release, Malformed, and UntrustedSigner again if this key may
        not say it, or a retired one made it after its time; Malformed first of all if it is too large.
        """
        if len(data) > self.most:
            raise Malformed(f"The {self.words} is larger than the format allows.")
        parsed = document.parse(self, data, trusted=trusted)
        self.admit(parsed.certificate)
        self.recognize(parsed.body)
        statement = canonical.decode(parsed.body, self.record, f"The {self.words}")
        self.check(statement)
        self.judge(statement, parsed.certificate)
        if self.moment:
            require_in_time(parsed.certificate, getattr(statement, self.moment), trusted)
        return Signed(statement, parsed.certificate)

    def parse(self, data: bytes, *, trusted: frozenset[str] | None) -> S:
        """Return the statement alone; raises as :meth:`open` does."""
        return self.open(data, trusted=trusted).statement


def is_time(text: str) -> bool:
    """Tell whether a text is a time with a zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


# -- The trust list: what an installation key says of the keys that it certified, wherever backups lie
#
# A role's key that leaked is on it, with since when and why, and so is the installation key's successor if
# it is handed over. Each list is whole, and the highest number counts, so a reader who knows the
# installation's fingerprint alone learns of a leak from any target.


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


def require_own_key(certificate: Certificate) -> None:
    """Refuse what is not the word of the installation key itself. Raises UntrustedSigner."""
    if certificate.key != certificate.installation:
        raise UntrustedSigner("Signed by another key than the installation's own, which alone signs this.")


class TrustListKind(StatementKind[TrustList], frozen=True, kw_only=True):
    """Trust lists: of each installation the highest number counts."""

    def name_of(self, statement: TrustList, content: bytes) -> str:
        return statement.object_name

    def is_named(self, name: str, statement: TrustList, content: bytes) -> bool:
        return number_in(name) == statement.number  # copies of one lie beside it

    def admit(self, certificate: Certificate) -> None:
        require_own_key(certificate)

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


# -- Signed words beside the backups: marks, entries of a case, and how far a ledger had come ---


# -- Marks: signed words about a backup, or about many, that lie beside the backups on every target ---
#
# A mark is never removed or changed, so it works under Object Lock: of those about one subject the one with
# the highest number counts. There are three kinds. A *quarantine mark* says that a backup is not to be
# restored from, or is again. A *deletion mark* says that a backup will be deleted, will not, or was. A *hold*
# says that nothing of its subject may be deleted, or may again.


MAX_TEXT = 1_000
DELETION_ROLES = (Role.PRUNE,)
"""Who says that a backup will be deleted, or was."""


class QuarantineMark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word about a backup that is not to be restored from, or is again."""

    backup_id: str
    number: int
    state: Literal["quarantined", "released"]
    reason: str
    incident: str
    by: str
    at: str

    @property
    def folder(self) -> str:
        return self.backup_id


class DeletionMark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word about a backup that will be deleted ``after`` a time, will not, or was (a *tombstone*)."""

    backup_id: str
    number: int
    state: Literal["marked", "undeleted", "deleted"]
    after: str
    reason: str
    run: str
    by: str
    at: str

    @property
    def folder(self) -> str:
        return self.backup_id


class HoldMark(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One word about backups that may not be deleted, whatever their policy says.

    ``subject`` is a backup's id, a tag (``name=value``), a policy's name, or empty: then it is every backup.
    ``until`` is empty for a hold without an end.
    """

    kind: Literal["backup", "tag", "policy", "everything"]
    subject: str
    number: int
    state: Literal["held", "released"]
    reason: str
    by: str
    at: str
    until: str

    @property
    def folder(self) -> str:
        """A digest: a tag may hold what no object's name may."""
        return hashlib.sha256(f"{self.kind}:{self.subject}".encode()).hexdigest()


prepare(QuarantineMark, DeletionMark, HoldMark)

M = TypeVar("M", QuarantineMark, DeletionMark, HoldMark)


class MarkKind(StatementKind[M], Generic[M], frozen=True, kw_only=True):
    """A kind of mark: of those in one folder, the one with the highest number counts.

    Args:
        says: who may say what: the roles that sign each state.
        safest: the state that keeps backups from harm: it counts where two marks have one number.
        rules: holds a mark to the rules that this kind alone has; raises Malformed.
    """

    most: int = 16 * 1024
    pattern: str = r"([A-Za-z0-9._-]{1,200})/([0-9]{8})\.json"
    says: Mapping[str, tuple[str, ...]]
    safest: str
    rules: Callable[[M], None] = lambda mark: None

    def object_name(self, folder: str, number: int) -> str:
        """Return a mark's name on every target."""
        return f"{self.prefix}{folder}/{number:08}.json"

    def name_of(self, statement: M, content: bytes) -> str:
        return self.object_name(statement.folder, statement.number)

    def check(self, statement: M) -> None:
        if not 1 <= statement.number <= MAX_NUMBER:
            raise Malformed(f"The {self.words}'s number is out of its range.")
        if not is_time(statement.at):
            raise Malformed(f"The {self.words}'s time is malformed, or has no zone.")
        texts = [text for text in structs.asdict(statement).values() if isinstance(text, str)]
        if not all(canonical.printable(text, MAX_TEXT) for text in texts):
            raise Malformed(f"What the {self.words} says is too long, or cannot be printed.")
        self.rules(statement)

    def judge(self, statement: M, certificate: Certificate) -> None:
        if certificate.role not in self.says[statement.state]:
            raise UntrustedSigner(f"The key of role '{certificate.role}' does not say '{statement.state}'.")


def _check_deletion(mark: DeletionMark) -> None:
    if (mark.state == "marked") != bool(mark.after) or (mark.after and not is_time(mark.after)):
        raise Malformed("A mark that a backup will be deleted says after which time, and no other mark does.")


def _check_hold(mark: HoldMark) -> None:
    if mark.until and not (mark.state == "held" and is_time(mark.until)):
        raise Malformed("The hold's end is malformed, has no zone, or ends no hold.")
    if (mark.kind == "everything") == bool(mark.subject):
        raise Malformed("The hold names nothing that it could hold, or everything and something.")


QUARANTINE = MarkKind(
    words="quarantine mark",
    name="quarantine",
    record=QuarantineMark,
    roles=MANIFEST_ROLES,
    prefix="quarantine/",
    says={"quarantined": MANIFEST_ROLES, "released": MANIFEST_ROLES},
    safest="quarantined",
    hidden=None,  # either state of it moves a restore
)
DELETION = MarkKind(
    words="deletion mark",
    name="deletion",
    record=DeletionMark,
    roles=(*DELETION_ROLES, *MANIFEST_ROLES),
    prefix="deletion/",
    says={
        "marked": DELETION_ROLES,
        "undeleted": (*DELETION_ROLES, *MANIFEST_ROLES),
        "deleted": DELETION_ROLES,
    },
    safest="undeleted",
    hidden=lambda folder, reason, at: DeletionMark(
        backup_id=folder,
        number=MAX_NUMBER,
        state="undeleted",
        after="",
        reason=reason,
        run="",
        by="",
        at=at,
    ),
    rules=_check_deletion,
)
HOLD = MarkKind(
    words="hold",
    name="hold",
    record=HoldMark,
    roles=MANIFEST_ROLES,
    prefix="holds/",
    says={"held": MANIFEST_ROLES, "released": MANIFEST_ROLES},
    safest="held",
    # A folder is a digest: whom the hidden hold holds cannot be told, so it holds everything.
    hidden=lambda folder, reason, at: HoldMark(
        kind="everything",
        subject="",
        number=MAX_NUMBER,
        state="held",
        reason=reason,
        by="",
        at=at,
        until="",
    ),
    rules=_check_hold,
)


# -- Entries of a case: signed words about something that people do over hours and on several hosts ---
#
# A case (an incident) is the sum of its entries. None is ever changed or removed: that works under Object
# Lock, and what two hosts enter at the same time stands both. An entry's name on a target has its number
# and the beginning of its digest, so two hosts' never meet, and a name whose bytes are known need not be
# read.


_SHOWN = 16
"""Hex digits of its digest in an entry's name."""
_CASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class CaseEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every entry says: of which case, in which order, when (RFC 3339) and by whom."""

    case: str
    number: int
    at: str
    by: str


E = TypeVar("E", bound=CaseEntry)


class CaseKind(StatementKind[E], Generic[E], frozen=True, kw_only=True):
    """A kind of case: every entry of it counts.

    Args:
        event: the kind of the events that have its entries in an installation's record.
        rules: holds an entry to the rules that this kind alone has; raises Malformed.
    """

    roles: tuple[str, ...] = MANIFEST_ROLES
    most: int = 4 * 1024 * 1024
    pattern: str = r"([A-Za-z0-9][A-Za-z0-9._-]{0,199})/[0-9]{8}-[0-9a-f]{16}\.json"
    event: str
    rules: Callable[[E], None] = lambda entry: None

    def name_of(self, statement: E, content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()[:_SHOWN]
        return f"{self.prefix}{statement.case}/{statement.number:08}-{digest}.json"

    def check(self, statement: E) -> None:
        if not _CASE.fullmatch(statement.case):
            raise Malformed(f"The {self.words}'s case has an impossible name.")
        if not 1 <= statement.number <= MAX_NUMBER:
            raise Malformed(f"The {self.words}'s number is out of its range.")
        if not is_time(statement.at):
            raise Malformed(f"The {self.words}'s time is malformed, or has no zone.")
        self.rules(statement)


# -- A ledger head: how far the record of events had come at a time, signed, so that it can lie anywhere


MOST = 256 * 1024
"""Bytes of a whole head; it has some 600, and 40 for each backup that was ever in quarantine."""
MOST_POLICIES, MOST_MARKED = 1_000, 4_000
SHOWN = 16
"""Hex digits of a ledger, and of a digest, in a head's name."""


class LedgerHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Event number ``event`` of a ledger, and the digest of everything up to it.

    ``ledger`` is the digest of the ledger's first event, which distinguishes one ledger from another: after
    a database was lost, a new ledger begins. Digests are SHA-256 in hex. ``at`` is the event's time,
    ``made_at`` that of the signature, both RFC 3339. ``trust`` is the number of the newest trust list that
    the signer knew, or 0.

    ``backups`` is each policy's newest backup that the place where the head lies was to hold, ``marks`` the
    highest number of the quarantine marks of each backup that has any: what is gone from there shows.
    """

    ledger: str
    event: int
    at: str
    sha256: str
    made_at: str
    trust: int
    backups: Mapping[str, str] = {}
    marks: Mapping[str, int] = {}


prepare(LedgerHead)


class HeadKind(StatementKind[LedgerHead], frozen=True, kw_only=True):
    """Ledger heads: of each ledger the newest counts."""

    def name_of(self, statement: LedgerHead, content: bytes) -> str:
        folder = f"{self.prefix}{statement.ledger[:SHOWN]}/{statement.made_at[:7]}"
        return f"{folder}/{statement.event:012}-{statement.sha256[:SHOWN]}.json"

    def require(self, signed: Signed[LedgerHead], trusted: frozenset[str] | None) -> None:
        require_listed(signed.certificate, signed.statement.trust, trusted)

    def recognize(self, body: bytes) -> None:
        require_numbered(body, b"made_at", "The ledger head")

    def check(self, statement: LedgerHead) -> None:
        head = statement
        unhex(head.ledger, 32, "A ledger's first digest")
        unhex(head.sha256, 32, "A ledger's digest")
        if head.event < 1 or not (is_time(head.at) and is_time(head.made_at)):
            raise Malformed("The ledger head's number is below 1, or its time has no zone.")
        check_number(head.trust, "The number of the ledger head's trust list")
        if len(head.backups) > MOST_POLICIES or len(head.marks) > MOST_MARKED:
            raise Malformed("The ledger head names more than the format allows.")
        if "" in head.backups.values() or not all(1 <= mark <= MAX_NUMBER for mark in head.marks.values()):
            raise Malformed(
                "The ledger head leaves a backup without a name, or a mark's number is out of its range."
            )


HEAD = HeadKind(
    name="head",
    words="ledger head",
    roles=MANIFEST_ROLES,
    most=MOST,
    record=LedgerHead,
    moment="made_at",
    prefix="ledger/",
    pattern=r"([0-9a-f]{16})/([0-9]{4}-[0-9]{2})/([0-9]{12})-([0-9a-f]{16})\.json",
)
