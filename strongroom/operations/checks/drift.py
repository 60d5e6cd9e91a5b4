"""How far a source has drifted from its newest backup, and from the one that was last taken for sound.

The second is what a mass change is judged by. Whoever encrypts or deletes the secrets of a source has a
schedule make a backup of that, which is then just like its source. The one before it is not.

The source is read once. Names and values of a backup are known by numbers: a million secrets take 16 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

from strongroom.container.digests import ValueDigester, keyed_hash
from strongroom.container.manifest import Manifest
from strongroom.errors import ConfigError, StrongroomError
from strongroom.model import Secret, Selection, prepare
from strongroom.operations.archive.live_comparison import (
    Digests,
    Live,
    Numbers,
    SecretState,
    beside,
    digests_of,
)
from strongroom.operations.drift.sample import Sample
from strongroom.sources import Source
from strongroom.sources.select import matches

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
