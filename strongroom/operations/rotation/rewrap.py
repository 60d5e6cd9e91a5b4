"""rewrap: the same wrapping keys for other recipients; no byte of any container moves.

For each wrapping key of a backup: one unlocking, one wrapping a recipient, one small signed
object a target, read back. It may die at any instruction and be done again: until the new
generation is there the one before it counts, and what already opens for the wanted
recipients is only carried to the targets that lack it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from msgspec import Struct

from strongroom.container.errors import VerificationFailed, WrongKey
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.signing import CertifiedSigner
from strongroom.container.wrapping import WrappingKey, WrappingKeyRecord, unlock
from strongroom.errors import KeyServiceError, StrongroomError, TargetError
from strongroom.keys import Identity, Recipient
from strongroom.keys.allof import recipient_key, stanza_key
from strongroom.operations.archive.envelopes import (
    PlacedEnvelopes,
    find_newest,
    first_answer,
    lock_envelope,
    most_telling,
    newest_of,
    place_envelope,
    remove_older,
    wrapping_keys,
)
from strongroom.operations.archive.index_files import IndexKey
from strongroom.operations.archive.open import carried_record
from strongroom.operations.errors import RotationContended
from strongroom.operations.keys.usage import StillOpens, is_for
from strongroom.targets import Target

ATTEMPTS = 5
"""How often a rotation that met another one counts further before it gives up."""


class RewrapOrder(Struct, frozen=True, kw_only=True):
    """What to rotate to, and what may be used for it.

    Args:
        identities: open the present generation, and where they can the new one.
        trusted: whose envelopes count, this signer among them.
        until: locks the new envelope on targets that lock; ``None`` for no lock.
        pace: is called before each wrapping key, and returns when it may go on.
        renew: wrap again even what opens for just these recipients, for a key service's new key version.
        keep_older: whether older detached envelopes stay even when the new one is verified.
    """

    recipients: Sequence[Recipient]
    identities: Sequence[Identity]
    signer: CertifiedSigner
    trusted: frozenset[str]
    until: datetime | None = None
    pace: Callable[[], object] = lambda: None
    renew: bool = False
    keep_older: bool = False


class KeyRotated(Struct, frozen=True, kw_only=True):
    """What became of one wrapping key; all of it public.

    ``was`` and ``now`` say who could and who can open. ``opened_by`` names the identities
    that the new generation was tried with; if there was no identity it is empty, and only what
    was read back is known. ``missed`` says why it is not on a target, ``locked`` which older
    envelopes could not be removed yet.
    """

    key: str
    generation: int
    made: bool
    was: tuple[str, ...]
    now: tuple[str, ...]
    opened_by: tuple[str, ...]
    placed: tuple[str, ...]
    missed: Mapping[str, str]
    removed: int
    locked: tuple[str, ...]


def rewrap_backup(
    manifest: Manifest, targets: Sequence[Target], rotation: RewrapOrder
) -> Iterator[KeyRotated]:
    """Rotate every wrapping key of a backup on the targets that hold it.

    Raises:
        WrongKey: no identity at hand opens the present generation.
        TargetError: no target took the new one; transient if one of them may later.
        RotationContended: others were rotating at the same time. Nothing is lost.
    """
    backup = manifest.backup_id
    for key, entry in wrapping_keys(manifest).items():
        rotation.pace()
        carried = partial(_carried, backup, entry)
        yield _Key(key, carried, backup, targets, rotation).rotate()


def _carried(backup: str, entry: ContainerEntry, target: Target) -> WrappingKeyRecord:
    return carried_record(target, backup, entry)


def rewrap_index(index: IndexKey, targets: Sequence[Target], rotation: RewrapOrder) -> KeyRotated:
    """Rotate the wrapping key of an index of names on the targets that show it. As :func:`rewrap_backup`."""
    rotation.pace()
    there = [target for target in targets if target.name in index.targets]
    return _Key(index.record.id, lambda _: index.record, index.backup, there, rotation).rotate()


def names_still_open(
    index: IndexKey, recipients: Sequence[Recipient], said: Iterable[StillOpens]
) -> Iterator[StillOpens]:
    """Yield where an index of names opens, as it was sealed, for whom it is not any more.

    Args:
        said: of whom it is said already that the backup itself opens for them.
    """
    wanted = set(map(recipient_key, recipients)).union(*(still_open.fingerprints for still_open in said))
    gone = {key: stanza for stanza in index.record.stanzas if (key := stanza_key(stanza)) not in wanted}
    for target in index.targets if gone else ():
        yield StillOpens(
            backup=index.backup,
            target=target,
            keys=tuple(stanza.label or stanza.type for stanza in gone.values()),
            fingerprints=tuple(gone),
            until="",
            names=True,
        )


class _Key:
    """One wrapping key on several targets. ``carried`` reads what is sealed under it for its own record."""

    def __init__(
        self,
        key: str,
        carried: Callable[[Target], WrappingKeyRecord],
        backup: str,
        targets: Sequence[Target],
        rotation: RewrapOrder,
    ) -> None:
        self._key = key
        self._carried = carried
        self._backup = backup
        self._rotation = rotation
        self._missed: dict[str, StrongroomError] = {}
        self._found: dict[str, PlacedEnvelopes] = {}
        self._lost: list[int] = []
        self._targets = list(targets)
        self._targets = [target for target in targets if self._reached(target, self._look)]

    def rotate(self) -> KeyRotated:
        before = self._present()
        after, made = self._for_recipients(before)
        opened = _openers(after, self._rotation.identities)
        removed, locked = self._tidied(after) if opened else (0, ())
        return KeyRotated(
            key=self._key,
            generation=after.generation,
            made=made,
            was=before.labels,
            now=after.labels,
            opened_by=opened,
            placed=tuple(target.name for target in self._targets),
            missed={name: f"{error.code}: {error.message}" for name, error in self._missed.items()},
            removed=removed,
            locked=locked,
        )

    # -- what is there ---------------------------------------------------------

    def _look(self, target: Target) -> None:
        self._found[target.name] = find_newest(target, self._key, trusted=self._rotation.trusted)

    def _present(self) -> WrappingKeyRecord:
        """Return the generation that counts now, over all targets."""
        detached = newest_of(envelopes.newest for envelopes in self._found.values())
        return detached or self._own()

    def _own(self) -> WrappingKeyRecord:
        return first_answer(
            self._targets,
            self._carried,
            of=f"backup {self._backup}",
            earlier=self._missed.values(),
        )

    # -- the new generation ----------------------------------------------------

    def _for_recipients(self, before: WrappingKeyRecord) -> tuple[WrappingKeyRecord, bool]:
        """Return the generation for the new recipients, on every target that took it."""
        done = is_for(before, self._rotation.recipients) and not self._rotation.renew
        if done and (before.generation == 1 or self._carry(before, lambda _: False)):
            return before, False
        unlocked = unlock(before, self._rotation.identities)
        for _ in range(ATTEMPTS):
            record = self._carry(self._wrapped(unlocked), self._will_do(unlocked))
            if record is not None:
                return record, True
        raise RotationContended(f"wrapping key {self._key} of {self._backup} is being rotated elsewhere too")

    def _will_do(self, unlocked: WrappingKey) -> Callable[[WrappingKeyRecord], bool]:
        # Fingerprints are public and can be copied; only the key's own MAC cannot.
        return lambda other: is_for(other, self._rotation.recipients) and unlocked.vouches_for(other)

    def _wrapped(self, unlocked: WrappingKey) -> WrappingKeyRecord:
        used = {number for envelopes in self._found.values() for _, number in envelopes.names}
        generation = max(unlocked.record.generation, *self._lost, 0) + 1
        while generation in used:  # another rotation's, or what somebody put there
            generation += 1
        return unlocked.rewrap(self._rotation.recipients, generation=generation).record

    def _carry(
        self, record: WrappingKeyRecord, will_do: Callable[[WrappingKeyRecord], bool]
    ) -> WrappingKeyRecord | None:
        """Put a generation on every target; ``None`` if another one won that will not do.

        All rotations go through the targets in one order, so the first decides: what lies
        there of this generation is carried on to the others.
        """
        chosen = record

        def put(target: Target) -> None:
            nonlocal chosen
            placed = place_envelope(target, chosen, self._rotation.signer, trusted=self._rotation.trusted)
            if placed is None or (placed != chosen and not will_do(placed)):
                raise _Lost
            chosen = placed
            lock_envelope(target, chosen, self._rotation.until)

        try:
            self._targets = [target for target in self._targets if self._reached(target, put)]
        except _Lost:
            self._lost.append(record.generation)
            return None
        if not self._targets:
            raise most_telling(self._missed.values())
        return chosen

    def _reached(self, target: Target, work: Callable[[Target], None]) -> bool:
        try:
            work(target)
        except (TargetError, VerificationFailed) as error:
            self._missed[target.name] = error
            return False
        return True

    def _names(self, target: Target) -> Sequence[tuple[str, int]]:
        return self._found[target.name].names

    # -- afterwards ------------------------------------------------------------

    def _tidied(self, record: WrappingKeyRecord) -> tuple[int, tuple[str, ...]]:
        """Remove the generations before one that was opened and that every target has."""
        if self._rotation.keep_older or self._missed:
            return 0, ()
        locked: list[str] = []
        removed = sum(
            remove_older(target, self._names(target), record.generation, locked=locked.append)
            for target in self._targets
        )
        return removed, tuple(dict.fromkeys(locked))


class _Lost(Exception):
    """Another rotation's envelope, for other recipients, lies under this generation's name."""


def _openers(record: WrappingKeyRecord, identities: Sequence[Identity]) -> tuple[str, ...]:
    """Open what the targets gave back with whatever identity at hand fits."""
    openers = []
    for identity in identities:
        try:
            unlock(record, [identity])
        except (WrongKey, KeyServiceError):  # a key service that is away opens nothing now, and that is all
            continue
        openers.append(identity.describe())
    return tuple(openers)
