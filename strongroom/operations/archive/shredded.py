"""What was shredded, by the record: every event of it, folded into the last word on each backup and key.

Events are appended and never changed. The intent comes before anything is destroyed, so whoever finds
it knows what to finish; and it is signed, so that nobody has things destroyed by writing to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from strongroom.container.errors import FormatError
from strongroom.operations.shredding.errors import BackupShredded
from strongroom.operations.shredding.events import (
    INTENT,
    KEY,
    LOST,
    PENDING,
    SHREDDED,
    TARGET,
    VERDICT,
    DestroyedMedium,
    Intent,
    Judged,
    KeyNow,
    MeantBackup,
    MeantKey,
    TargetNow,
    decoded,
    intent_of,
)
from strongroom.operations.shredding.key_versions import Epoch
from strongroom.state.records import Event

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


class Shredding(Struct, kw_only=True):
    """All that is on record of one backup. ``lost`` are media that it was on, by somebody's word."""

    meant: MeantBackup
    policy: str
    shred: str
    asked_at: float
    targets: dict[str, TargetNow]
    lost: dict[str, DestroyedMedium]
    judged: Judged

    @property
    def done(self) -> bool:
        """Whether the verdict is *shredded*."""
        return self.judged.verdict == SHREDDED


class ShreddingRecord(Struct, kw_only=True):
    """All that is on record of shredding: backups and key versions, the last word on each.

    ``refused`` are events that somebody else wrote, or changed.
    """

    backups: dict[str, Shredding]
    keys: dict[Epoch, MeantKey]
    now: dict[Epoch, KeyNow]
    refused: list[str]

    @property
    def pending(self) -> list[Shredding]:
        """Those that are not shredded."""
        return [shredding for shredding in self.backups.values() if not shredding.done]

    @property
    def unremoved(self) -> list[Shredding]:
        """Those that are shredded by their keys, while a target still shows what is left of them."""
        done = [shredding for shredding in self.backups.values() if shredding.done]
        return [shredding for shredding in done if any(now.left for now in shredding.targets.values())]


def write(store: RunStore, kind: str, detail: Struct) -> None:
    """Append to the record."""
    store.event(kind, **msgspec.to_builtins(detail))


def read(store: RunStore, trusted: frozenset[str]) -> ShreddingRecord:
    """Return what is on record. ``trusted`` may have confirmed it: no other intent counts."""
    record = ShreddingRecord(backups={}, keys={}, now={}, refused=[])
    for event in events(store):
        try:
            if event.kind == INTENT:
                _meant(record, event, intent_of(event, trusted))
            else:
                _FOLDS[event.kind](record, event)
        except FormatError as error:
            record.refused.append(f"event {event.id} ({event.kind}): {error.message}")
    return record


def events(store: RunStore) -> Iterator[Event]:
    """Return every event of shredding, in order: the proof."""
    return store.each_event(INTENT, *_FOLDS)


def shredded_backups(store: RunStore, trusted: frozenset[str]) -> frozenset[str]:
    """Return the backups that are shredded, or to be: nothing brings them up or back."""
    found: set[str] = set()
    for event in store.each_event(INTENT):
        with suppress(FormatError):
            found |= {meant_backup.backup for meant_backup in intent_of(event, trusted).backups}
    return frozenset(found)


def check(store: RunStore, backup: str, trusted: frozenset[str]) -> None:
    """Raise BackupShredded if a backup is not to be brought back."""
    shredding = read(store, trusted).backups.get(backup)
    if shredding is not None:
        raise BackupShredded(f"Backup {backup} {_said(shredding)}.")


def _said(shredding: Shredding) -> str:
    if shredding.done:
        return "was shredded"
    return f"is being shredded (pending until {shredding.judged.until or 'nobody knows when'})"


# -- folding -------------------------------------------------------------------


def _meant(record: ShreddingRecord, event: Event, intent: Intent) -> None:
    for key in intent.keys:
        record.keys[key.epoch] = _merged(record.keys.get(key.epoch), key)
    for meant_backup in intent.backups:
        before = record.backups.get(meant_backup.backup)
        record.backups[meant_backup.backup] = Shredding(
            meant=_joined(before.meant, meant_backup) if before else meant_backup,
            policy=intent.policy,
            shred=intent.shred,
            asked_at=event.at,
            targets=before.targets if before else {},
            lost=before.lost if before else {},
            judged=Judged(
                backup=meant_backup.backup, verdict=PENDING, reasons=("it was begun, and not finished",)
            ),
        )


def _merged(before: MeantKey | None, after: MeantKey) -> MeantKey:
    """Keep what was seen while the key was still there: gone, it shows no doubts."""
    return before if before is not None and before.seen and not after.seen else after


def _joined(before: MeantBackup, after: MeantBackup) -> MeantBackup:
    """What was meant once stays meant."""
    return msgspec.structs.replace(
        after,
        epochs=tuple(sorted({*before.epochs, *after.epochs})),
        wrapping_keys=tuple(sorted({*before.wrapping_keys, *after.wrapping_keys})),
        targets=tuple(sorted({*before.targets, *after.targets})),
        expected=tuple(sorted({*before.expected, *after.expected})),
        gaps=before.gaps or after.gaps,
    )


def _key(record: ShreddingRecord, event: Event) -> None:
    now = decoded(event, KeyNow)
    record.now[now.epoch] = now


def _target(record: ShreddingRecord, event: Event) -> None:
    now = decoded(event, TargetNow)
    if shredding := record.backups.get(now.backup):
        shredding.targets[now.target] = now


def _verdict(record: ShreddingRecord, event: Event) -> None:
    judged = decoded(event, Judged)
    if shredding := record.backups.get(judged.backup):
        shredding.judged = judged


def _lost(record: ShreddingRecord, event: Event) -> None:
    lost = decoded(event, DestroyedMedium)
    for shredding in record.pending:  # of a medium that takes the name later, nothing was said
        if lost.target in shredding.meant.targets:
            shredding.lost[lost.target] = lost


_FOLDS: Mapping[str, Callable[[ShreddingRecord, Event], None]] = {
    KEY: _key,
    TARGET: _target,
    VERDICT: _verdict,
    LOST: _lost,
}
