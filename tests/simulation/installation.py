"""What a simulated installation has: policies, backups and their replicas, and what is known of them.

What lies on a target and what the record says of it are kept apart: a damaged container looks good until
somebody reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from msgspec import Struct, structs

from strongroom.container.marks import DeletionMark
from strongroom.model import Depth, Selection
from strongroom.operations.backup.order import MANIFEST, DueContainer
from strongroom.operations.engine.services import KeepRules
from strongroom.state.records import RunKind, Spec, TargetPin
from tests.simulation.faults import DAY, REGIONS, Fault, chance

PINS = tuple(TargetPin(name=name, address=f"s3://{name}/", region=name, provider="p1") for name in REGIONS)


class Policy(Struct, frozen=True, kw_only=True):
    """A policy: what a run of it is, when, and of how many secrets and containers its backups are."""

    name: str
    schedule: str
    pieces: int
    secrets: int
    spec: Spec
    keep: KeepRules
    time_zone: str = "UTC"
    offline: bool = False


def make_policy(
    name: str, schedule: str, *, pieces: int, secrets: int, quorum: int, zone: str, keep: KeepRules
) -> Policy:
    """Return a policy on three targets."""
    spec = Spec(
        kind=RunKind.BACKUP,
        policy=name,
        source="vault",
        selection=Selection(tags={"tier": name}),
        targets=PINS,
        quorum=quorum,
        regions=quorum,
        depth=Depth.DIGEST,
    )
    return Policy(
        name=name,
        schedule=schedule,
        pieces=pieces,
        secrets=secrets,
        spec=spec,
        keep=keep,
        time_zone=zone,
    )


@dataclass(slots=True)
class Copy:
    """A replica. ``pieces`` are the containers that lie there, each ``True`` if it is sound."""

    pieces: dict[int, bool]
    manifest: bool = True
    locked_until: float = 0.0
    good: bool = False
    """By the record."""
    verified_at: float | None = None
    checked: dict[int, float] = field(default_factory=dict)
    """When each container was read last, by the record."""
    items: list[DueContainer] | None = None

    def check(self, piece: int, at: float) -> None:
        """Enter that a container was read."""
        self.checked[piece], self.items = at, None

    def is_whole(self, pieces: int) -> bool:
        """Tell whether everything is there and sound, whatever the record says."""
        return self.is_there(pieces) and all(self.pieces.values())

    def is_there(self, pieces: int) -> bool:
        """Tell whether everything is there, by names and sizes."""
        return self.manifest and len(self.pieces) == pieces


@dataclass(slots=True)
class Backup:
    """A backup, and each of its replicas by target."""

    name: str
    policy: str
    made_at: float
    pieces: int
    secrets: int
    copies: dict[str, Copy]
    size: int = 200 << 20
    """Bytes of each container."""

    def items(self, target: str, copy: Copy) -> list[DueContainer]:
        """Return the manifest and the containers of a replica, with when each was read last."""
        if copy.items is None:
            copy.items = list(self._items(target, copy))
        return copy.items

    def _items(self, target: str, copy: Copy) -> Iterator[DueContainer]:
        """Yield the manifest and the containers of a replica, with when each was read last."""
        for piece in range(MANIFEST, self.pieces):
            at = copy.checked.get(piece)
            yield DueContainer(
                backup=self.name,
                target=target,
                piece=piece,
                size=0 if piece == MANIFEST else self.size,
                made_at=self.made_at,
                depth=None if at is None else Depth.DIGEST,
                checked_at=at,
            )

    @property
    def good(self) -> list[str]:
        """The targets whose replica is good by the record."""
        return [name for name, copy in self.copies.items() if copy.good]

    @property
    def is_verified(self) -> bool:
        """Whether a replica was read back and is good, by the record."""
        return any(copy.good and copy.verified_at is not None for copy in self.copies.values())

    def can_be_restored(self) -> bool:
        """Tell whether each container is sound somewhere: the truth, whatever the record says."""
        held = [copy for copy in self.copies.values() if copy.manifest]
        return all(any(copy.pieces.get(piece) for copy in held) for piece in range(self.pieces))


@dataclass(slots=True)
class Installation:
    """The policies, and the backups that there are, the oldest first."""

    policies: Mapping[str, Policy]
    backups: dict[str, Backup] = field(default_factory=dict)
    degraded: dict[str, None] = field(default_factory=dict)
    """The backups of which a replica is not good, by the record."""

    marks: dict[str, dict[str, DeletionMark]] = field(default_factory=lambda: {name: {} for name in REGIONS})
    """On each target the mark of each backup that counts there."""
    marked: dict[str, float] = field(default_factory=dict)
    """Since when each backup is marked to be deleted."""

    unmarked: dict[str, float] = field(default_factory=dict)
    """When a mark was taken back: what is marked nobody reads."""

    def unmark(self, backup: str, now: float) -> None:
        """Take a mark back, if there is one."""
        if self.marked.pop(backup, None) is not None:
            self.unmarked[backup] = now

    def numbered(self, mark: DeletionMark) -> DeletionMark:
        """Return a mark with a number that counts over all others of its backup."""
        others = (marks[mark.backup_id].number for marks in self.marks.values() if mark.backup_id in marks)
        return structs.replace(mark, number=max(others, default=0) + 1)

    def remove(self, backup: Backup, target: str) -> None:
        """Take a replica away, and the backup with the last one."""
        del backup.copies[target]
        if not backup.copies:
            del self.backups[backup.name]
            self.marked.pop(backup.name, None)
            self.degraded.pop(backup.name, None)

    def copy_on(self, backup: str, target: str) -> Copy | None:
        """Return a replica, if it is there."""
        found = self.backups.get(backup)
        return None if found is None else found.copies.get(target)

    def is_deleted(self, backup: Backup, target: str) -> bool:
        """Tell whether a replica was deleted on purpose."""
        mark = self.marks[target].get(backup.name)
        return mark is not None and mark.state == "deleted"

    def lacking(self, backup: Backup) -> list[str]:
        """Return the targets on which a backup is not good, by the record, and was not deleted on purpose."""
        good = backup.good
        return [name for name in REGIONS if name not in good and not self.is_deleted(backup, name)]

    def recorded(self, backup: Backup) -> None:
        """Note what the record says of a backup's replicas now."""
        if self.lacking(backup):
            self.degraded[backup.name] = None
        else:
            self.degraded.pop(backup.name, None)

    def of(self, policy: str) -> Iterator[Backup]:
        """Yield the backups of a policy, the newest first."""
        return (backup for backup in reversed(self.backups.values()) if backup.policy == policy)

    def oldest(self, policy: str) -> Backup | None:
        """Return the oldest backup of a policy."""
        return next((backup for backup in self.backups.values() if backup.policy == policy), None)

    def newest_verified(self, policy: str) -> Backup | None:
        """Return the newest verified backup of a policy, by the record."""
        return next((backup for backup in self.of(policy) if backup.is_verified), None)


LOCKED_FOR = 12 * DAY
"""How long a replica on a target with a lock may not be deleted."""


def damage(installation: Installation, fault: Fault) -> None:
    """Damage one container on one target, or take it away, as long as another target has it sound."""
    there = [
        (backup, piece)
        for backup in installation.backups.values()
        for piece in range(backup.pieces)
        if fault.subject in backup.copies and _is_elsewhere(backup, piece, fault.subject)
    ]
    if there:
        backup, piece = there[int(fault.size * len(there))]
        pieces = backup.copies[fault.subject].pieces
        if chance(fault.size, "gone") < 0.5:
            pieces.pop(piece, None)
        elif piece in pieces:
            pieces[piece] = False


def rot(installation: Installation, fault: Fault) -> None:
    """Damage a container of each newer backup of a policy everywhere, so that an older is the last good."""
    sound = [one for one in installation.of(fault.subject) if one.can_be_restored()]
    for backup in sound[: int(fault.size * len(sound))]:
        for copy in backup.copies.values():
            if copy.pieces:
                copy.pieces[max(copy.pieces)] = False


def _is_elsewhere(backup: Backup, piece: int, target: str) -> bool:
    others = (copy for name, copy in backup.copies.items() if name != target)
    return any(copy.manifest and copy.pieces.get(piece) for copy in others)
