"""What a choice of backups is made of: places, replicas, backups known and passed over, and words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from strongroom.container.manifest import Manifest, SignedManifest
from strongroom.errors import StrongroomError
from strongroom.operations.errors import LessThanKnown, NewestUnseen
from strongroom.operations.layout import container_name, containers_prefix, manifest_name
from strongroom.targets.repaired import Objects, original_name

SHOWN = 4
"""Lines about what was passed over: more would hide what was taken."""


class BackupPlace(NamedTuple):
    """A place that backups are read from. ``needed`` is false for a medium that is mostly away."""

    name: str
    objects: Callable[[], Objects]
    needed: bool = True


class Passed(Struct, frozen=True, kw_only=True):
    """A backup that was not taken, and why. ``policy`` is empty where its manifest is not believed."""

    backup: str
    why: str
    policy: str = ""
    created_at: str = ""
    broken: StrongroomError | None = None
    """What is wrong everywhere with its manifest, or its containers, if that is why."""


class KnownBackup(Struct, frozen=True, kw_only=True):
    """A backup that is on record here, or that another place shows, and the places that were to have it."""

    backup: str
    policy: str
    source: str
    created_at: str
    values: bool
    secrets: int
    places: frozenset[str]


class VanishedBackup(Struct, frozen=True, kw_only=True):
    """A backup that is known and that no place shows which was asked.

    ``denied`` are the places that answered and were to show it, ``away`` those that did not answer, and
    ``elsewhere`` those that were not asked. ``broken`` is why its manifest does not count, if there is one.
    """

    known: KnownBackup
    denied: tuple[str, ...]
    away: tuple[str, ...]
    elsewhere: tuple[str, ...]
    broken: str = ""

    @property
    def words(self) -> str:
        """What is lost and where, for people."""
        backup = self.known
        what = f"backup {backup.backup} of policy '{backup.policy}', made {backup.created_at}"
        if self.broken:
            return f"{what}, is newer, and {manifest_name(backup.backup)} does not count ({self.broken})"
        return f"{what}, is newer and not to be seen: {'; '.join(self._places())}"

    def error(self, instead: Manifest | None) -> StrongroomError:
        """Return how a command ends that took an older backup, or would: one that is away is no attack."""
        if not self.denied:
            return LessThanKnown(f"A newer backup is known: {self.words}.", hint=_AWAY)
        ways = [f"Ask the others too: leave --from-target {self.denied[0]} out."] if self.elsewhere else []
        if self.broken:
            ways.insert(0, f"'strongroom backups repair {self.known.backup}' copies it from a good replica.")
        if instead is not None:
            ways.append(
                f"To take the older one of {instead.created_at} nonetheless: --backup {instead.backup_id}"
            )
        hint = f"{NewestUnseen.default_hint} {' '.join(ways)}".rstrip()
        return NewestUnseen(f"A newer backup is known: {self.words}.", hint=hint)

    def _places(self) -> Iterator[str]:
        for names, said in (
            (self.denied, "does not show it and was to have it"),
            (self.away, "was to have it and did not answer"),
            (self.elsewhere, "was to have it and was not asked"),
        ):
            yield from (f"'{name}' {said}" for name in names)


class ShownReplica(NamedTuple):
    """A place that shows a backup's manifest as it was signed."""

    name: str
    objects: Objects


class BackupChoice(Struct, frozen=True, kw_only=True):
    """A backup to read, and the places that have it, the best first."""

    signed: SignedManifest
    replicas: tuple[ShownReplica, ...]
    quarantine: str = ""

    @property
    def manifest(self) -> Manifest:
        return self.signed.manifest


def all_away(away: Mapping[str, StrongroomError]) -> StrongroomError:
    """Return what to say where no place answered: each of them, as the first one says it."""
    first, *others = away.values()
    if not others:
        return first
    said = "; ".join(f"'{name}': {error.message}" for name, error in away.items())
    return type(first)(f"None of the {len(away):,} targets that were asked answers: {said}", hint=first.hint)


def lacking_on(objects: Objects, manifest: Manifest) -> set[int]:
    """Return the containers of a backup that a place does not show in their right size; one listing."""
    prefix = containers_prefix(manifest.backup_id)
    there = {(original_name(info.name), info.size) for info in objects.list(prefix)}
    return {
        entry.piece
        for entry in manifest.containers
        if (container_name(manifest.backup_id, entry.sha256), entry.size) not in there
    }


def describe_skipped(passed: Iterable[Passed]) -> Iterator[str]:
    """Yield a line for each reason why backups were passed over: how many, and the newest of them."""
    groups: dict[tuple[str, str], list[Passed]] = {}
    for passed_over in passed:
        groups.setdefault(
            (
                passed_over.policy,
                passed_over.why if passed_over.policy else passed_over.why.partition(":")[0],
            ),
            [],
        ).append(passed_over)
    for (policy, _), found in islice(groups.items(), SHOWN):
        newest = found[0]
        more = f" and {len(found) - 1:,} more like it" if len(found) > 1 else ""
        whose = f" of policy '{policy}', made {newest.created_at}" if policy else ""
        yield f"{newest.backup}{whose}{more}: {newest.why}"
    if len(groups) > SHOWN:
        yield f"and {sum(map(len, list(groups.values())[SHOWN:])):,} more, for other reasons"


ASIDE = "it is in quarantine"


AHEAD_OF_HERE = "it is dated ahead of this host's clock"


AHEAD = 300.0
"""Seconds by which a backup may be of the future: clocks differ."""


def is_ahead(manifest: Manifest, now: float) -> bool:
    """Tell whether a backup is dated after now: made while a clock was wrong, it passes for the newest."""
    return made_at(manifest) > now + AHEAD


def made_at(manifest: Manifest) -> float:
    """Return when a backup was made, in seconds since the epoch; infinity for what is no time."""
    return _seconds(manifest.created_at)


def _seconds(created_at: str) -> float:
    try:
        return datetime.fromisoformat(created_at).timestamp()
    except (ValueError, OverflowError):
        return float("inf")


_AWAY = (
    "What was read stands, and is not the newest. Bring the target back, then repeat to have what changed "
    "since."
)
