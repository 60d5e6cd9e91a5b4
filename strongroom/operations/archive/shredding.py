"""What was shredded or deleted on purpose: what was meant, what key services and targets said, and the
verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec import Struct

from strongroom.container import canonical
from strongroom.container.errors import FormatError, Malformed
from strongroom.container.signing import Certificate, CertifiedSigner, require_in_time, require_signer, verify
from strongroom.container.wrapping import Stanza
from strongroom.keys.destroying import Fate
from strongroom.model import prepare
from strongroom.operations.archive.key_versions import CONFIRMER, Epoch
from strongroom.operations.errors import BackupShredded
from strongroom.state.records import Event

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


# -- The events of shredding: what was meant, what key services and targets said, and the verdicts ---
#
# There is no name of a secret in them.


T = TypeVar("T")

INTENT, KEY, TARGET, VERDICT = "shred.intent", "shred.key", "shred.target", "shred.verdict"
LOST = "shred.lost"
SHREDDED, PENDING = "shredded", "pending"
_DOMAIN = b"strongroom/v1/shred-intent"


class Witness(Struct, frozen=True, kw_only=True):
    """One real stanza under a key version, with what it is bound to (hex): with the key gone, nobody
    opens it, and that is tried. It is public: it was stored next to the backup."""

    stanza: Stanza
    context: str


class MeantKey(Struct, frozen=True, kw_only=True):
    """A key version to destroy, as its key service showed it before. ``name`` is the configuration's."""

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
    :class:`~.key_versions.Lying`. ``targets`` may hold it, and ``expected`` are
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
    """What a person confirmed, and when (RFC 3339): written before anything is destroyed."""

    shred: str
    policy: str
    at: str
    by: str
    keys: tuple[MeantKey, ...]
    backups: tuple[MeantBackup, ...]


class SignedIntent(Struct, frozen=True, kw_only=True):
    """An intent and who signed it: writing to the state database alone destroys nothing."""

    intent: Intent
    certificate: Certificate
    signature: str


class KeyNow(Struct, frozen=True, kw_only=True):
    """What became of a key version: the key service's answer, and that of a real attempt to open.

    ``proven``: it is gone, the same key service says so, nothing opened, and no copy can be left.
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


class DestroyedMedium(Struct, frozen=True, kw_only=True):
    """Somebody's word that a medium is destroyed, with all that lay on it."""

    target: str
    by: str
    reason: str


prepare(SignedIntent, KeyNow, TargetNow, Judged, DestroyedMedium)


def sign(intent: Intent, signer: CertifiedSigner) -> SignedIntent:
    """Sign what a person confirmed."""
    signature = signer.sign(_DOMAIN, canonical.encode(intent))
    return SignedIntent(intent=intent, certificate=signer.certificate, signature=signature.hex())


def intent_of(event: Event, trusted: frozenset[str]) -> Intent:
    """Return an event's intent.

    Raises:
        UntrustedSigner, Tampered, Malformed: nobody who may confirm this did.
    """
    signed = decoded(event, SignedIntent)
    signed.certificate.check_form()
    signature = canonical.unhex(signed.signature, 64, "An intent's signature")
    verify(signed.certificate.public, _DOMAIN, canonical.encode(signed.intent), signature)
    require_signer(signed.certificate, may=(CONFIRMER,), what="shredding", trusted=trusted)
    require_in_time(signed.certificate, signed.intent.at, trusted)
    return signed.intent


def decoded(event: Event, type_: type[T]) -> T:
    """Return an event's detail as what it is to be. Raises Malformed for one that was edited."""
    try:
        return msgspec.convert(dict(event.detail), type_)
    except msgspec.ValidationError:
        raise Malformed(f"Event {event.id} ({event.kind}) is not what was written.") from None


# -- What was shredded, by the record: every event of it, folded into the last word on each backup and key
#
# Events are appended and never changed. The intent comes before anything is destroyed, so whoever finds
# it knows what to finish; and it is signed, so that nobody has things destroyed by writing to the database.


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
