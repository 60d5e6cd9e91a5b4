"""Marks: signed words about a backup, or about many, that lie beside the backups on every target.

A mark is never removed or changed, so it works under Object Lock: of those about one subject the one with
the highest number counts. There are three kinds. A *quarantine mark* says that a backup is not to be
restored from, or is again. A *deletion mark* says that a backup will be deleted, will not, or was. A *hold*
says that nothing of its subject may be deleted, or may again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Generic, Literal, TypeVar

from msgspec import Struct, structs

from strongroom.container import canonical, document
from strongroom.container.certificate import MANIFEST_ROLES, Certificate, CertifiedSigner, require_in_time
from strongroom.container.document import Kind
from strongroom.container.errors import Malformed, UntrustedSigner
from strongroom.model import prepare

MAX_MARK = 16 * 1024
MAX_TEXT = 1_000
MAX_NUMBER = 99_999_999
DELETION_ROLES = ("prune",)
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


class MarkKind(Struct, Generic[M], frozen=True, kw_only=True):
    """A kind of mark.

    Args:
        prefix: what its names on a target begin with.
        roles: who may say what: the roles that sign each state.
        safest: the state that keeps backups from harm: it counts where two marks have one number.
        hidden: makes the mark that stands for one that may lie hidden, of its folder, a reason and a time;
            ``None`` where nothing may stand for it.
        check: holds a mark to the rules that this kind alone has; raises Malformed.
    """

    words: str
    name: str
    record: type[M]
    prefix: str
    roles: Mapping[str, tuple[str, ...]]
    safest: str
    hidden: Callable[[str, str, str], M] | None
    check: Callable[[M], None] = lambda mark: None

    @property
    def document(self) -> Kind:
        return Kind(self.name, self.words, tuple(dict.fromkeys(sum(self.roles.values(), ()))))

    def object_name(self, folder: str, number: int) -> str:
        """Return a mark's name on every target."""
        return f"{self.prefix}{folder}/{number:08}.json"


def _check_deletion(mark: DeletionMark) -> None:
    if (mark.state == "marked") != bool(mark.after) or (mark.after and not _is_time(mark.after)):
        raise Malformed("A mark that a backup will be deleted says after which time, and no other mark does.")


def _check_hold(mark: HoldMark) -> None:
    if mark.until and not (mark.state == "held" and _is_time(mark.until)):
        raise Malformed("The hold's end is malformed, has no zone, or ends no hold.")
    if (mark.kind == "everything") == bool(mark.subject):
        raise Malformed("The hold names nothing that it could hold, or everything and something.")


QUARANTINE = MarkKind(
    words="quarantine mark",
    name="quarantine",
    record=QuarantineMark,
    prefix="quarantine/",
    roles={"quarantined": MANIFEST_ROLES, "released": MANIFEST_ROLES},
    safest="quarantined",
    hidden=None,  # either state of it moves a restore
)
DELETION = MarkKind(
    words="deletion mark",
    name="deletion",
    record=DeletionMark,
    prefix="deletion/",
    roles={
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
    check=_check_deletion,
)
HOLD = MarkKind(
    words="hold",
    name="hold",
    record=HoldMark,
    prefix="holds/",
    roles={"held": MANIFEST_ROLES, "released": MANIFEST_ROLES},
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
    check=_check_hold,
)


class SignedMark(Struct, Generic[M], frozen=True):
    """A parsed mark, with the certificate of the key that signed it."""

    mark: M
    certificate: Certificate


def sign_mark(kind: MarkKind[M], mark: M, signer: CertifiedSigner) -> bytes:
    """Return the mark's file. The same mark and signer give the same bytes."""
    check_mark(kind, mark)
    data = document.write(kind.document, canonical.encode(mark), signer)
    if len(data) > MAX_MARK:
        raise Malformed(f"The {kind.words} would be larger than the format allows.")
    return data


def open_mark(kind: MarkKind[M], data: bytes, *, trusted: frozenset[str] | None) -> SignedMark[M]:
    """Parse strictly and check the signature; raises as :func:`~.manifest.open_manifest` does."""
    if len(data) > MAX_MARK:
        raise Malformed(f"The {kind.words} is larger than the format allows.")
    parsed = document.parse(kind.document, data, trusted=trusted)
    mark = canonical.decode(parsed.body, kind.record, f"The {kind.words}")
    check_mark(kind, mark)
    if parsed.certificate.role not in kind.roles[mark.state]:
        raise UntrustedSigner(f"The key of role '{parsed.certificate.role}' does not say '{mark.state}'.")
    require_in_time(parsed.certificate, mark.at, trusted)
    return SignedMark(mark, parsed.certificate)


def check_mark(kind: MarkKind[M], mark: M) -> None:
    """Hold a mark to the format's rules; raise Malformed."""
    if not 1 <= mark.number <= MAX_NUMBER:
        raise Malformed(f"The {kind.words}'s number is out of its range.")
    if not _is_time(mark.at):
        raise Malformed(f"The {kind.words}'s time is malformed, or has no zone.")
    texts = [text for text in structs.asdict(mark).values() if isinstance(text, str)]
    if not all(canonical.printable(text, MAX_TEXT) for text in texts):
        raise Malformed(f"What the {kind.words} says is too long, or cannot be printed.")
    kind.check(mark)


def _is_time(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
