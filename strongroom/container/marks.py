"""Signed words beside the backups: marks, entries of a case, and how far a ledger had come."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

from msgspec import Struct, structs

from strongroom.container import canonical
from strongroom.container.canonical import unhex
from strongroom.container.errors import Malformed, UntrustedSigner
from strongroom.container.signing import MANIFEST_ROLES, Certificate, require_listed
from strongroom.container.statement import MAX_NUMBER, Signed, StatementKind, is_time
from strongroom.container.trust_list import check_number, require_numbered
from strongroom.model import Role, prepare

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
