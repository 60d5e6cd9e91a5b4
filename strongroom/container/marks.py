"""Marks: signed words about a backup, or about many, that lie beside the backups on every target.

A mark is never removed or changed, so it works under Object Lock: of those about one subject the one with
the highest number counts. There are three kinds. A *quarantine mark* says that a backup is not to be
restored from, or is again. A *deletion mark* says that a backup will be deleted, will not, or was. A *hold*
says that nothing of its subject may be deleted, or may again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Generic, Literal, TypeVar

from msgspec import Struct, structs

from strongroom.container import canonical
from strongroom.container.certificate import MANIFEST_ROLES, Certificate
from strongroom.container.errors import Malformed, UntrustedSigner
from strongroom.container.statement import MAX_NUMBER, StatementKind, is_time
from strongroom.model import prepare

MAX_TEXT = 1_000
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
