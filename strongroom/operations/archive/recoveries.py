"""The record of a recovery: entries that are only ever added, and what they come to.

Every entry is signed and lies on this machine and on each target that takes it, so another host can go on,
and two at once lose nothing. No value is in it and no secret's name: targets are read by more people than the
secrets are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import Malformed
from strongroom.container.marks import CaseEntry, CaseKind
from strongroom.model import prepare
from strongroom.operations.archive.cases import Places, read_on
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget

FOLDER: Final = "recoveries"
"""Where a machine keeps its part of the record, in its state directory."""
HERE: Final = "this machine"


class RecoveryStep(StrEnum):
    """The steps of the procedures, in their order."""

    ASSESS = "assess"
    SECURE = "secure"
    LOCATE = "locate"
    RESTORE = "restore"
    VALIDATE = "validate"
    ROTATE = "rotate"


STEPS: Final = tuple(RecoveryStep)


class RecoveryEntryKind(StrEnum):
    """What an entry says."""

    OPENED = "opened"
    SCOPE = "scope"
    PARTS = "parts"
    BEGAN = "began"
    PROVED = "proved"
    AGREED = "agreed"
    DONE = "done"
    WAIVED = "waived"
    UNNEEDED = "unneeded"
    STOPPED = "stopped"
    TOLD = "told"
    LEFT = "left"
    CLOSED = "closed"


class RecoveryProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A check, what it was of (a backup's id; empty: of the whole), how it ended and what it said.

    ``code`` is the error that the check ended with, by its class; empty if it ended well.
    """

    check: str
    of: str = ""
    code: str = ""
    said: tuple[str, ...] = ()


class SourceSeen(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source as it was found. ``there``: its secrets, if it answers. ``held``: those of its backup."""

    name: str
    there: int | None
    held: int
    why: str = ""

    @property
    def lacks(self) -> bool:
        """Tell whether it looks lost: it does not answer, or has fewer secrets than were backed up."""
        return self.there is None or self.there < self.held


class RecoveryScope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is lost, what is compromised, and where the lost is brought back to.

    ``away`` are the targets that do not answer, each with the reason. ``leaked`` names keys. ``into`` names
    the destination for each lost source.
    """

    sources: tuple[SourceSeen, ...]
    away: Mapping[str, str]
    lost: tuple[str, ...]
    leaked: tuple[str, ...]
    into: Mapping[str, str]


class RecoveryPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup that is restored, and into what. Of one source the older ones come first.

    ``limits`` says what it was limited to; empty if it was made of everything.
    """

    source: str
    policy: str
    backup: str
    made_at: str
    secrets: int
    on: tuple[str, ...]
    into: str
    limits: str = ""


class RecoveryEntry(CaseEntry, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One thing that happened. Times are RFC 3339; ``by`` is a user at a host."""

    about: RecoveryEntryKind
    step: RecoveryStep | None = None
    reason: str = ""
    scope: RecoveryScope | None = None
    parts: tuple[RecoveryPart, ...] = ()
    proofs: tuple[RecoveryProof, ...] = ()
    lines: tuple[str, ...] = ()
    overwrite: bool = False

    @property
    def host(self) -> str:
        return self.by.rpartition("@")[2]


prepare(RecoveryEntry)


def _check(entry: RecoveryEntry) -> None:
    if entry.about is RecoveryEntryKind.OPENED and entry.step is not None:
        raise Malformed("The recovery entry that opens a recovery is of no step.")


RECOVERY = CaseKind(
    name="recovery",
    words="recovery entry",
    record=RecoveryEntry,
    prefix="recoveries/",
    event="recovery.entered",
    rules=_check,
)


class StepRecord(Struct, frozen=True, kw_only=True):
    """How far a step is. ``ended`` is :attr:`About.DONE`, ``WAIVED`` or ``UNNEEDED``, or ``None``."""

    step: RecoveryStep
    began_at: str = ""
    ended_at: str = ""
    ended: RecoveryEntryKind | None = None
    attempts: int = 0
    by: str = ""
    host: str = ""
    reason: str = ""
    proofs: tuple[RecoveryProof, ...] = ()

    @property
    def proved(self) -> frozenset[str]:
        """The backups that a check of this step ended well for."""
        return frozenset(proof.of for proof in self.proofs if proof.of and not proof.code)


class Recovery(Struct, frozen=True, kw_only=True):
    """A recovery as its entries tell it."""

    id: str
    opened_at: str
    by: str
    last: int
    scope: RecoveryScope | None
    parts: tuple[RecoveryPart, ...]
    agreed: RecoveryEntry | None
    steps: Mapping[RecoveryStep, StepRecord]
    told: tuple[RecoveryEntry, ...]
    left: tuple[str, ...]
    hosts: tuple[str, ...]
    closed_at: str = ""
    reason: str = ""

    def into(self, source: str) -> str:
        """Return where a source is restored into."""
        return self.scope.into.get(source, source) if self.scope is not None else source

    @property
    def waived(self) -> tuple[StepRecord, ...]:
        return tuple(record for record in self.steps.values() if record.ended is RecoveryEntryKind.WAIVED)


def recovery_of(case: str, entries: Iterable[RecoveryEntry]) -> Recovery:
    """Return what the entries of a recovery come to, in the order of their numbers."""
    ordered = sorted(entries, key=lambda entry: (entry.number, entry.at, entry.about))
    first, since = ordered[0], _since_scope(ordered)
    return Recovery(
        id=case,
        opened_at=first.at,
        by=first.by,
        last=ordered[-1].number,
        scope=next((entry.scope for entry in reversed(ordered) if entry.scope is not None), None),
        parts=next((entry.parts for entry in reversed(since) if entry.about is RecoveryEntryKind.PARTS), ()),
        agreed=next((entry for entry in reversed(since) if entry.about is RecoveryEntryKind.AGREED), None),
        steps=_steps(ordered),
        told=tuple(entry for entry in ordered if entry.about is RecoveryEntryKind.TOLD),
        left=tuple(
            dict.fromkeys(
                line for entry in ordered if entry.about is RecoveryEntryKind.LEFT for line in entry.lines
            )
        ),
        hosts=tuple(dict.fromkeys(entry.host for entry in ordered)),
        closed_at=next((entry.at for entry in ordered if entry.about is RecoveryEntryKind.CLOSED), ""),
        reason=first.reason,
    )


def in_order(cases: Mapping[str, tuple[RecoveryEntry, ...]]) -> dict[str, Recovery]:
    """Return recoveries, the newest last."""
    found = {case: recovery_of(case, entries) for case, entries in cases.items()}
    return dict(sorted(found.items(), key=lambda pair: pair[1].opened_at))


def recoveries_on(
    state_dir: Path | None, targets: Mapping[str, Target], *, trusted: frozenset[str]
) -> dict[str, Recovery]:
    """Return the recoveries that this machine and some targets know, the newest last; nothing is made."""
    folder = state_dir / FOLDER if state_dir is not None else None
    here = {HERE: DirectoryTarget(folder, name=HERE, region="")} if folder and folder.is_dir() else {}
    return in_order(read_on(Places(targets={**here, **targets}, trusted=trusted), RECOVERY).entries)


def _since_scope(ordered: Sequence[RecoveryEntry]) -> Sequence[RecoveryEntry]:
    """Return the entries since the scope was last put on record: a yes was to that one alone."""
    last = max((at for at, entry in enumerate(ordered) if entry.about is RecoveryEntryKind.SCOPE), default=0)
    return ordered[last:]


def _steps(ordered: Iterable[RecoveryEntry]) -> dict[RecoveryStep, StepRecord]:
    found = {step: StepRecord(step=step) for step in STEPS}
    for entry in ordered:
        if entry.about is RecoveryEntryKind.SCOPE:
            # A step as it is once another scope is on record: what was shown was of the one before.
            found |= {step: replace(found[step], ended=None, proofs=()) for step in STEPS[1:]}
        if entry.step is not None:
            found[entry.step] = _after(found[entry.step], entry)
    return found


def _after(record: StepRecord, entry: RecoveryEntry) -> StepRecord:
    match entry.about:
        case RecoveryEntryKind.BEGAN:
            return replace(
                record,
                began_at=record.began_at or entry.at,
                ended=None,
                attempts=record.attempts + 1,
                by=entry.by,
                host=entry.host,
            )
        case RecoveryEntryKind.PROVED:
            # Whether a check was made once more: the newest result counts.
            recovery_proofs = tuple(
                proof
                for proof in record.proofs
                if not any((proof.check, proof.of) == (other.check, other.of) for other in entry.proofs)
            )
            return replace(record, proofs=(*recovery_proofs, *entry.proofs))
        case RecoveryEntryKind.DONE | RecoveryEntryKind.WAIVED | RecoveryEntryKind.UNNEEDED:
            return replace(
                record,
                ended=entry.about,
                ended_at=entry.at,
                by=entry.by,
                host=entry.host,
                reason=entry.reason,
            )
        case _:
            return record
