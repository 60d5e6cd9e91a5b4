"""A restore plan: what a restore will do with each secret, made from one backup and one destination.

A plan is a head and a stream of entries: a million of them do not belong in memory. The head holds a digest
of all entries, so the digest of the head is that of the plan: this is what people approve. No value is in
it, and no digest of one: the manifest's digest, a name and a version say what will be written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.manifest import Manifest
from strongroom.errors import UsageError
from strongroom.model import Selection, prepare
from strongroom.operations.archive.salvage import LostParts
from strongroom.operations.archive.shortfall import Shortfall
from strongroom.operations.errors import PlanMismatch
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.record import spelled
from strongroom.sources import Destination


class RestoreAction(StrEnum):
    """What a restore, or the undoing of one, would do with a secret.

    No plan is made with ``moved``: it is what has become of an entry that is looked at again. An undo leaves
    with ``stay`` what the destination never removes. With ``missing`` nothing is done: the backup lacks it,
    and an earlier one has it. Nor with ``lost``: its value is damaged, and no earlier backup has one.
    """

    CREATE = "create"
    CHANGE = "change"
    FINISH = "finish"
    LEAVE = "leave"
    SAME = "same"
    MOVED = "moved"
    REMOVE = "remove"
    STAY = "stay"
    CANNOT = "cannot"
    MISSING = "missing"
    LOST = "lost"


WRITES: Final = frozenset({RestoreAction.CREATE, RestoreAction.CHANGE, RestoreAction.FINISH})
TELLS: Final = frozenset({RestoreAction.MISSING, RestoreAction.LOST})
"""What a plan says of secrets that it does nothing with, since it has no value of them."""


class Side(StrEnum):
    """Which of two values was written last, by the times that both sides tell."""

    BACKUP = "backup"
    THERE = "destination"
    NEITHER = "neither"
    UNKNOWN = "unknown"


class PlanEntry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What will happen to one secret; no value. Versions are each side's own numbers.

    Args:
        name: what the backup calls it; ``to``: what the destination will.
        why: why it cannot be restored, or is from an earlier backup; ``code``: the class of that error.
        version: the backup's current one.
        expected: the version that is at the destination, ``None`` if there is no such secret.
        newer: which side was written last, if both have it and they differ.
        loss: what of it the destination cannot reproduce.
        backup: the earlier backup that it is taken from, or that has it if it is missing; else empty.
    """

    name: str
    to: str
    action: RestoreAction
    why: str = ""
    code: str = ""
    version: int = 0
    written_at: str | None = None
    expected: int | None = None
    there_written_at: str | None = None
    newer: Side | None = None
    loss: str = ""
    backup: str = ""


class EarlierBackup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A backup that some secrets of a plan are taken from, since the plan's own lacks them."""

    backup: str
    manifest: str
    created_at: str


class NamedDestination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a plan writes: a name in a configuration may stand for another server tomorrow."""

    name: str
    kind: str
    address: str


def name_destination(destination: Destination, name: str = "") -> NamedDestination:
    """Return what a plan knows a destination by; by its own name, unless a configuration has another one."""
    name = name or destination.name
    kind = destination.kind or type(destination).__name__
    return NamedDestination(name=name, kind=kind, address=destination.address)


class Relocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Restore what lies below ``source`` in the backup, and call it by ``to`` instead."""

    source: str = ""
    to: str = ""

    def covers(self, name: str) -> bool:
        """Say whether a secret of the backup is part of the restore."""
        return name.startswith(self.source)

    def there(self, name: str) -> str:
        """Return what the destination calls a secret of the backup."""
        return self.to + name.removeprefix(self.source)

    def here(self, name: str) -> str:
        """Return what the backup calls a secret of the destination."""
        return self.source + name.removeprefix(self.to)


IN_PLACE: Final = Relocation()

FIRST: Final = ("priority=critical",)
"""Tags (``KEY=VALUE``) of the secrets that come back before the others."""


def comes_first(tags: Mapping[str, str], first: Sequence[str]) -> bool:
    """Say whether a secret with these tags is critical."""
    return any(tags.get(tag.partition("=")[0]) == tag.partition("=")[2] for tag in first)


def parse_relocation(text: str | None) -> Relocation:
    """Return what ``FROM=TO`` means. Raises UsageError."""
    if not text:
        return IN_PLACE
    source, equals, to = text.partition("=")
    if not equals or source == to:
        raise UsageError(
            "--relocate needs FROM=TO, which differ.",
            hint="For example --relocate secret/=restored/ for another mount. Both are how names begin.",
        )
    if source and to and source.endswith("/") != to.endswith("/"):
        raise UsageError(
            f"--relocate {text}: one side ends with a slash, and the other one does not.",
            hint=f"'{source}…' would be called '{to}…', with nothing between. End both sides alike.",
        )
    return Relocation(source=source, to=to)


class RestorePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A plan's head: what was asked, of which backup, for where, and what came of it in numbers.

    Args:
        manifest: the SHA-256 of what the manifest's signer signed.
        entries: the SHA-256 of all entries in their order.
        earlier: the backups that what it lacks is taken from.
        shortfall: what it lacks of those before it.
        lost: what of it could not be read when the plan was made, and what is from earlier ones instead.
        secret_version: the version of the one secret that is asked for; the newest if none is named.
    """

    version: int = 1
    id: str
    made_at: str
    by: str
    backup: str
    manifest: str
    destination: NamedDestination
    selection: Selection = Selection()
    names: tuple[str, ...] = ()
    secret_version: int | None = None
    overwrite: bool = False
    relocation: Relocation = IN_PLACE
    totals: Restored = Restored()
    entries: str = ""
    earlier: tuple[EarlierBackup, ...] = ()
    shortfall: Shortfall | None = None
    lost: LostParts | None = None

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the plan, its entries included: what an approval is bound to."""
        return hashlib.sha256(canonical.encode(self)).hexdigest()


prepare(PlanEntry, EarlierBackup, RestorePlan)
_ENTRY = msgspec.json.Decoder(PlanEntry)

Note = Callable[[PlanEntry], None]


def manifest_digest(manifest: Manifest) -> str:
    """Return the digest that a plan knows a backup by; signing the manifest again does not change it."""
    return hashlib.sha256(canonical.encode(manifest)).hexdigest()


def require_fitting(plan: RestorePlan, manifest: Manifest | None, destination: Destination) -> None:
    """Refuse to do a plan with another backup, or into another destination, than it was made for.

    Raises:
        PlanMismatch: says which of the two it is.
    """
    if manifest is None or manifest_digest(manifest) != plan.manifest:
        raise PlanMismatch(f"The plan was made from backup {plan.backup}, and this is another one.")
    require_same_place(plan.destination, name_destination(destination))


def require_same_place(planned: NamedDestination, there: NamedDestination) -> None:
    """Refuse to do a plan where its destination's name stands for another place now. Raises PlanMismatch."""
    if there != planned:
        raise PlanMismatch(
            f"The plan was made for '{planned.name}' at {planned.address}, "
            f"and '{there.name}' is at {there.address} now."
        )


def encode_entry(entry: PlanEntry) -> bytes:
    """Return an entry's one line."""
    return canonical.encode(entry) + b"\n"


def decode_entry(line: bytes) -> PlanEntry:
    """Return the entry that a line holds. Raises Malformed."""
    return canonical.decode(line.removesuffix(b"\n"), PlanEntry, "An entry of the restore plan")


class PlannedEntries:
    """A plan's entries, in step with the secrets that a restore writes."""

    def __init__(self, entries: Iterable[PlanEntry]) -> None:
        self._rest = (entry for entry in entries if entry.action not in TELLS)
        self._ahead: dict[str, PlanEntry] = {}

    def take(self, names: Sequence[str]) -> dict[str, PlanEntry]:
        """Return the entries of these names at the destination.

        Only as many are read as that takes: none is held where the secrets come in the plan's order.

        Raises:
            PlanMismatch: the plan has none for one of them.
        """
        return {name: self._entry(spelled(name)) for name in names}

    def _entry(self, name: str) -> PlanEntry:
        while name not in self._ahead:
            entry = next(self._rest, None)
            if entry is None:
                raise PlanMismatch(f"the restore plan says nothing of secret '{name}'")
            self._ahead[entry.to] = entry
        return self._ahead.pop(name)

    def left(self) -> list[str]:
        """Return what the plan has entries of and did not come, by its name at the destination."""
        return [*self._ahead, *(entry.to for entry in self._rest)]

    def finish(self) -> None:
        """Raise PlanMismatch if the plan has entries of secrets that did not come."""
        if left := self.left():
            raise PlanMismatch(
                f"the backup did not give {len(left):,} secrets of the restore plan: '{left[0]}'"
            )
