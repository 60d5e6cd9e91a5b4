"""How far a source has drifted from its newest backup, and whether somebody has to look."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Protocol

from msgspec import Struct

from strongroom.container.cobblestone import ValueDigester, keyed_hash
from strongroom.container.manifest import Manifest
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Secret, Selection, prepare
from strongroom.operations.archive.live_comparison import (
    Digests,
    Live,
    Numbers,
    SecretState,
    beside,
    describe_drift,
    digests_of,
)
from strongroom.sources import Source
from strongroom.sources.batches import matches
from strongroom.words import plural

# -- A sample of a set of numbers, small enough for a run's record: it tells how alike two large sets are


SIZE = 256


class Sample:
    """The lowest of the numbers that it was given (bottom-k: Cohen and Kaplan, PODC 2007).

    The numbers come out of a keyed hash, so the lowest are a fair choice, and the same one each time.
    """

    def __init__(self) -> None:
        self._heap: list[int] = []

    def add(self, number: int) -> None:
        """Consider a number."""
        if len(self._heap) < SIZE:
            heapq.heappush(self._heap, -number)
        else:
            heapq.heappushpop(self._heap, -number)

    def numbers(self) -> tuple[int, ...]:
        """Return the sample, the lowest first."""
        return tuple(sorted(-number for number in self._heap))


def share_unknown(now: Sequence[int], known: Sequence[int]) -> float:
    """Return which part of what one sample stands for was not in the set of the other, an earlier one.

    Exact up to :data:`SIZE` numbers; of more, an estimate that is off by a few hundredths.
    """
    highest = known[-1] if len(known) >= SIZE else float("inf")
    compared = [number for number in now if number <= highest]
    earlier = set(known)
    return sum(number not in earlier for number in compared) / len(compared) if compared else float(bool(now))


# -- How far a source has drifted from its newest backup, and from the one that was last taken for sound
#
# The second is what a mass change is judged by. Whoever encrypts or deletes the secrets of a source has a
# schedule make a backup of that, which is then just like its source. The one before it is not.
#
# The source is read once. Names and values of a backup are known by numbers: a million secrets take 16 MB.


_LISTED, _SELECTED, _MISSING, _UNREAD = range(4)
"""What a number says of a secret that has no state to compare."""


class ComparableBackup(Protocol):
    """A backup that is opened, on one place or on several."""

    @property
    def manifest(self) -> Manifest: ...

    def digested(self) -> Iterator[tuple[str, dict[int, bytes]]]: ...

    def name_key(self) -> bytes: ...

    def find(self, name: str) -> Secret | None: ...


class Differences(Struct, frozen=True, kw_only=True):
    """How many secrets of a backup are otherwise in its source by now: counts alone, for names are secret.

    ``unread`` are those of which the source says nothing that could be compared.
    """

    backup: str
    secrets: int
    changed: int = 0
    missing: int = 0
    unread: int = 0

    @property
    def moved(self) -> int:
        return self.changed + self.missing


class Drift(Struct, frozen=True, kw_only=True):
    """A source beside its newest backup, and beside the earlier one that it is judged by (``since``).

    ``extra`` are secrets that the policy selects and that the newest backup does not hold. ``sample`` has
    keyed numbers of what differs from the earlier one: it tells this change from another one.
    """

    newest: Differences
    extra: int
    since: Differences
    sample: tuple[int, ...]


prepare(Drift)


def compare(
    newest: ComparableBackup,
    since: ComparableBackup,
    source: Source,
    selection: Selection,
    digest: ValueDigester,
) -> Drift:
    """Compare a source with its newest backup and an earlier one, which may be the same.

    Raises:
        SourceError: the source did not answer, so no drift is claimed.
        ConfigError: the backups' digests were made with another key than this host's.
    """
    for backup in (newest, since):
        check_digest_key(backup, digest)
    states = _States(since.name_key())
    numbers, extra = _list(source, selection)
    beside_newest = _Tally(states)
    for name, held, live in beside(source, newest.digested()):
        listed = numbers.get(name)
        extra -= listed == _SELECTED
        numbers.set(name, _number(states, name, live, digest, listed=listed is not None))
        beside_newest.add(name, held, numbers.get(name))
    beside_since = beside_newest if since is newest else _Tally(states)
    if since is not newest:
        for name, held in since.digested():
            beside_since.add(name, held, numbers.get(name))
    return Drift(
        newest=beside_newest.differences(newest),
        extra=extra,
        since=beside_since.differences(since),
        sample=beside_since.sample.numbers(),
    )


def _list(source: Source, selection: Selection) -> tuple[Numbers, int]:
    """Return a number for each name that a source lists, and how many of them the selection means."""
    numbers, selected = Numbers(), 0
    for entry in source.list(with_tags=bool(selection.tags)):
        meant = matches(selection, entry)
        selected += meant and numbers.get(entry.name) != _SELECTED
        numbers.set(entry.name, _SELECTED if meant else _LISTED)
    return numbers, selected


def _number(states: _States, name: str, live: Live, digest: ValueDigester, *, listed: bool) -> int:
    """Return the number of what a source has of a secret.

    What it lists and then does not give is not missing: a server that contradicts itself proves nothing.
    """
    if isinstance(live, StrongroomError) or (live is None and listed):
        return _UNREAD
    return _MISSING if live is None else states.of(name, digests_of(live, digest))


class _States:
    """Numbers that stand for the values of a secret, under a key that lies sealed in a backup.

    So a run's record may have some of them: who reads it, and has the key of digests too, learns nothing.
    """

    def __init__(self, key: bytes) -> None:
        self._hash = keyed_hash(key, b"strongroom/v1/drift")

    def of(self, name: str, digests: Digests) -> int:
        """Return the number of a secret with these values; it is none that says something else."""
        encoded = name.encode()
        values = b"".join(number.to_bytes(8, "big") + digest for number, digest in sorted(digests.items()))
        hashed = self._hash(len(encoded).to_bytes(4, "big") + encoded + values)
        return int.from_bytes(hashed[:6], "big") | (_UNREAD + 1)


class _Tally:
    """Counts how the secrets of one backup stand."""

    def __init__(self, states: _States) -> None:
        self._states = states
        self._counts = Counter[SecretState]()
        self.sample = Sample()

    def add(self, name: str, held: Digests, now: int | None) -> None:
        """Count a secret. ``now`` is the number of what the source has, ``None`` where it never listed it."""
        if now in (None, _MISSING):
            self._counts[SecretState.MISSING] += 1
            self.sample.add(self._states.of(name, {}))
        elif now <= _UNREAD:
            self._counts[SecretState.UNREAD] += 1
        elif now == self._states.of(name, held):
            self._counts[SecretState.SAME] += 1
        else:
            self._counts[SecretState.CHANGED] += 1
            self.sample.add(now)

    def differences(self, backup: ComparableBackup) -> Differences:
        return Differences(
            backup=backup.manifest.backup_id,
            secrets=self._counts.total(),
            changed=self._counts[SecretState.CHANGED],
            missing=self._counts[SecretState.MISSING],
            unread=self._counts[SecretState.UNREAD],
        )


def check_digest_key(backup: ComparableBackup, digest: ValueDigester) -> None:
    """Refuse to compare under another key than the digests were made with: every secret would differ.

    One secret tells: its value is read, and must have the digest that stands beside it.
    """
    name, held = next(_with_values(backup), ("", {}))
    secret = backup.find(name) if held else None
    if secret is not None and digests_of(secret, digest) != held:
        raise ConfigError(
            f"backup {backup.manifest.backup_id} was made with another key of digests than this host has",
            hint="Nothing was compared. Bring back keys/digest.key of the state directory from an escrow, or "
            "make a new backup here: later comparisons use that one.",
        )


def _with_values(backup: ComparableBackup) -> Iterator[tuple[str, Digests]]:
    return ((name, held) for name, held in backup.digested() if held)


# -- Whether so much of a source changed that somebody has to look, and whether somebody has. Pure ---


class MassChangeLimits(Struct, frozen=True, kw_only=True):
    """A mass change is one of more than so many of a hundred secrets, and of at least so many."""

    mass_change_percent: int = 30
    mass_change_least: int = 10

    def exceeded(self, moved: float, secrets: int) -> bool:
        """Tell whether so many of a backup's secrets are a mass change."""
        return moved >= self.mass_change_least and 100 * moved > self.mass_change_percent * secrets


prepare(MassChangeLimits)


def is_mass_change(found: Differences, limits: MassChangeLimits) -> bool:
    """Tell whether a source differs that much from a backup. If nothing is left, it does, however small."""
    return limits.exceeded(found.moved, found.secrets) or 0 < found.secrets == found.missing


def is_accepted(drift: Drift, accepted: Sequence[int], limits: MassChangeLimits) -> bool:
    """Tell whether a mass change is the one that a person released the hold for, but for a few secrets.

    Args:
        accepted: the sample of that change; empty if nobody released a hold.
    """
    if not accepted:
        return False
    new = share_unknown(drift.sample, accepted) * drift.since.moved
    return not limits.exceeded(new, drift.since.secrets)


def is_alarming(drift: Drift, accepted: Sequence[int], limits: MassChangeLimits) -> bool:
    """Tell whether there is a mass change that nobody has accepted."""
    return is_mass_change(drift.since, limits) and not is_accepted(drift, accepted, limits)


def describe_mass_change(drift: Drift) -> str:
    """Say what changed, in counts: a name of a secret is one, too."""
    found = drift.since
    what = describe_drift(found.changed, found.missing)
    return f"{what}, of the {plural(found.secrets, 'secret')} of backup {found.backup}"
