"""What was shredded, by the record: what was meant, what keepers and targets said, and the verdicts.

All of it is events, appended and never changed. The intent comes before anything is destroyed, so
whoever finds it knows what to finish. There is no name of a secret in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.container.stanza import Stanza
from strongroom.errors import BackupShredded
from strongroom.keys.destroying import Fate
from strongroom.model import prepare
from strongroom.operations.shred_epochs import Epoch
from strongroom.state.records import Event
from strongroom.state.store import RunStore

INTENT, KEY, TARGET, VERDICT = "shred.intent", "shred.key", "shred.target", "shred.verdict"
LOST = "shred.lost"
SHREDDED, PENDING = "shredded", "pending"
_PAGE = 1000


class Witness(Struct, frozen=True, kw_only=True):
    """One real stanza under a key version, with what it is bound to (hex): with the key gone, nobody
    opens it, and that is tried. It is public: it lay beside the backup."""

    stanza: Stanza
    context: str


class MeantKey(Struct, frozen=True, kw_only=True):
    """A key version to destroy, as its keeper showed it before. ``name`` is the configuration's."""

    epoch: Epoch
    name: str
    where: str
    seen: bool
    doubts: tuple[str, ...]
    answer: Mapping[str, str | int | bool]
    witness: Witness | None


class MeantBackup(Struct, frozen=True, kw_only=True):
    """A backup to shred, and all that is needed to go on once its manifest is gone.

    ``stays`` are recipients whose keys cannot be destroyed; ``gaps``: see
    :class:`~strongroom.operations.shred_epochs.Lying`. ``targets`` may hold it, and ``expected`` are
    those that did: one of these that shows nothing has lost it, or is another medium.
    """

    backup: str
    created_at: str
    secrets: int
    wrapping_keys: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    stays: tuple[str, ...]
    gaps: bool
    targets: tuple[str, ...]
    expected: tuple[str, ...]


class Intent(Struct, frozen=True, kw_only=True):
    """What a person confirmed: written before anything is destroyed."""

    shred: str
    policy: str
    by: str
    keys: tuple[MeantKey, ...]
    backups: tuple[MeantBackup, ...]


class KeyNow(Struct, frozen=True, kw_only=True):
    """What became of a key version: the keeper's answer, and that of a real attempt to open.

    ``proven``: it is gone, the same keeper says so, nothing opened, and no copy can be left.
    ``why`` is what stands against that.
    """

    epoch: Epoch
    fate: Fate | None = None
    until: str = ""
    proven: bool = False
    tried: str = ""
    why: tuple[str, ...] = ()
    answer: Mapping[str, str | int | bool] = {}


class TargetNow(Struct, frozen=True, kw_only=True):
    """What became of a backup on a target.

    ``found``: some of it was there, once at least. ``gone``: nothing of it is any more, hidden or
    not. ``seen``: the envelopes of the copy that was expected there were read; ``opens`` are those
    recipients for whom they open and whose keys are not to be destroyed.
    ``hidden`` is how many versions a delete left, -1 if that cannot be told.
    """

    backup: str
    target: str
    found: bool = False
    gone: bool = False
    seen: bool = False
    deleted: int = 0
    left: int = 0
    hidden: int = 0
    opens: tuple[str, ...] = ()
    until: str = ""
    why: str = ""


class Judged(Struct, frozen=True, kw_only=True):
    """The verdict on a backup. ``until`` is empty if nobody knows when it will be shredded.

    ``reasons`` say what it waits for; of one that is shredded, on whose word alone a medium is gone."""

    backup: str
    verdict: str
    until: str = ""
    reasons: tuple[str, ...] = ()


class Lost(Struct, frozen=True, kw_only=True):
    """Somebody's word that a medium is destroyed, with all that lay on it."""

    target: str
    by: str
    reason: str


prepare(Intent, KeyNow, TargetNow, Judged, Lost)


class Shredding(Struct, kw_only=True):
    """All that is on record of one backup. ``lost`` are media that it was on, by somebody's word."""

    meant: MeantBackup
    policy: str
    shred: str
    asked_at: float
    targets: dict[str, TargetNow]
    lost: dict[str, Lost]
    judged: Judged

    @property
    def done(self) -> bool:
        """Whether the verdict is *shredded*."""
        return self.judged.verdict == SHREDDED


class Record(Struct, kw_only=True):
    """All that is on record of shredding: backups and key versions, the last word on each."""

    backups: dict[str, Shredding]
    keys: dict[Epoch, MeantKey]
    now: dict[Epoch, KeyNow]

    @property
    def pending(self) -> list[Shredding]:
        """Those that are not finished."""
        return [one for one in self.backups.values() if not one.done]


def write(store: RunStore, kind: str, detail: Struct) -> None:
    """Append to the record."""
    store.event(kind, **msgspec.to_builtins(detail))


def read(store: RunStore) -> Record:
    """Return what is on record."""
    record = Record(backups={}, keys={}, now={})
    for event in events(store):
        _FOLDS[event.kind](record, event)
    return record


def events(store: RunStore) -> Iterator[Event]:
    """Yield every event of shredding, in order: the proof."""
    yield from sorted((event for kind in _FOLDS for event in _of(store, kind)), key=lambda event: event.id)


def _of(store: RunStore, kind: str) -> Iterator[Event]:
    after = 0
    while page := store.events(kind=kind, after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def asked(store: RunStore) -> frozenset[str]:
    """Return the backups that are shredded, or to be: nothing brings them up or back."""
    return frozenset(one.backup for event in _of(store, INTENT) for one in _intent(event).backups)


def check(store: RunStore, backup: str) -> None:
    """Raise BackupShredded if a backup is not to be brought back."""
    found = read(store).backups.get(backup)
    if found is not None:
        raise BackupShredded(f"Backup {backup} {_said(found)}.")


def _said(found: Shredding) -> str:
    if found.done:
        return "was shredded"
    return f"is being shredded (pending until {found.judged.until or 'nobody knows when'})"


# -- folding -------------------------------------------------------------------


def _intent(event: Event) -> Intent:
    return msgspec.convert(dict(event.detail), Intent)


def _meant(record: Record, event: Event) -> None:
    intent = _intent(event)
    for key in intent.keys:
        record.keys[key.epoch] = _merged(record.keys.get(key.epoch), key)
    for one in intent.backups:
        before = record.backups.get(one.backup)
        record.backups[one.backup] = Shredding(
            meant=_joined(before.meant, one) if before else one,
            policy=intent.policy,
            shred=intent.shred,
            asked_at=event.at,
            targets=before.targets if before else {},
            lost=before.lost if before else {},
            judged=Judged(backup=one.backup, verdict=PENDING, reasons=("it was begun, and not finished",)),
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


def _key(record: Record, event: Event) -> None:
    now = msgspec.convert(dict(event.detail), KeyNow)
    record.now[now.epoch] = now


def _target(record: Record, event: Event) -> None:
    now = msgspec.convert(dict(event.detail), TargetNow)
    if found := record.backups.get(now.backup):
        found.targets[now.target] = now


def _verdict(record: Record, event: Event) -> None:
    judged = msgspec.convert(dict(event.detail), Judged)
    if found := record.backups.get(judged.backup):
        found.judged = judged


def _lost(record: Record, event: Event) -> None:
    lost = msgspec.convert(dict(event.detail), Lost)
    for one in record.pending:  # of a medium that takes the name later, nothing was said
        if lost.target in one.meant.targets:
            one.lost[lost.target] = lost


_FOLDS: Mapping[str, Any] = {
    INTENT: _meant,
    KEY: _key,
    TARGET: _target,
    VERDICT: _verdict,
    LOST: _lost,
}
