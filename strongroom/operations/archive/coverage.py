"""What a backup covers, what lies beside it, and what the newest one lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest, ManifestSelection, SignedManifest
from strongroom.errors import StrongroomError
from strongroom.model import Selection
from strongroom.operations.archive.envelopes import UnreadableEnvelope, find_newest, wrapping_keys
from strongroom.operations.engine.layout import container_name, containers_prefix, manifest_name
from strongroom.operations.errors import LeftAside, LessThanKnown, NewestUnseen
from strongroom.sources.batches import is_named
from strongroom.targets.reading import (
    MANIFESTS,
    ManifestListing,
    Objects,
    backup_of,
    copies,
    held_to_name,
    original_name,
    sound_copy,
)
from strongroom.targets.single_file import BundleReader
from strongroom.words import plural

# -- Whether a backup covers what somebody asks for, by what its manifest says was meant --------


ESCROW = "escrow"
"""The source of an escrow of an installation's keys, which is no backup of secrets."""

NO_VALUES = "it holds no values"
PART = "it holds only secrets"
"""How the words begin for a backup that was made of a part."""


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked for of a backup.

    ``name`` is one secret, else ``selection`` counts. ``partial`` takes a backup of less than that.
    ``source`` is preferred where backups of several sources lie side by side.
    """

    values: bool = True
    selection: Selection = Selection()
    name: str = ""
    policy: str = ""
    backup: str = ""
    until: float | None = None
    source: str = ""
    partial: bool = False
    use_quarantined: bool = False

    @property
    def words(self) -> str:
        """What is asked for, for people."""
        what = f"the secret '{self.name}'" if self.name else _meant(self.selection)
        return f"{what}, with values" if self.values else what


def _meant(selection: Selection) -> str:
    limits = "; ".join(_limits(selection.include, selection.exclude, selection.tags))
    return f"secrets ({limits})" if limits else "every secret"


def _limits(include: object, exclude: object, tags: object) -> Iterator[str]:
    if isinstance(tags, dict) and tags:
        yield "tagged " + ", ".join(f"{key}={value}" for key, value in sorted(tags.items()))
    for word, patterns in (("named", include), ("not named", exclude)):
        if isinstance(patterns, tuple) and patterns:
            shown = ", ".join(f"'{pattern}'" for pattern in patterns[:3])
            yield f"{word} {shown}" + (f" and {len(patterns) - 3} more" if len(patterns) > 3 else "")


def limits_of(manifest: Manifest) -> str:
    """Say what a backup was limited to; nothing if it was made of everything."""
    return limits_on(manifest.selection)


def limits_on(chosen: ManifestSelection | Selection) -> str:
    """Say what a selection is limited to; nothing if it means everything."""
    return "; ".join(_limits(chosen.include, chosen.exclude, dict(chosen.tags)))


def lacks(manifest: Manifest, asked: Asked) -> str:
    """Say what a backup lacks of what is asked for; nothing if it covers that."""
    if manifest.source == ESCROW:
        return "it is an escrow of an installation's keys"
    if asked.values and not manifest.values:
        return NO_VALUES
    if asked.partial or _covers_asked(manifest.selection, asked):
        return ""
    return f"{PART} {limits_of(manifest)}"


def _covers_asked(selection: ManifestSelection, asked: Asked) -> bool:
    """Tell whether every secret that is asked for was meant when the backup was made.

    Of one secret nobody knows the tags before it is found, so a backup of a category may hold it.
    """
    if asked.name:
        return is_named(asked.name, selection.include, selection.exclude)
    return covers(selection, asked.selection)


def covers(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    """Tell whether a selection means all that another means, as far as patterns can tell."""
    tagged = all(wanted.tags.get(key) == value for key, value in selection.tags.items())
    return tagged and _included(selection, wanted) and _not_excluded(selection, wanted)


def _included(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    if not selection.include:
        return True
    # Whether all that a pattern matches is matched by one of others, as far as that can be told.
    return bool(wanted.include) and all(
        pattern in selection.include
        or (_is_plain(pattern) and any(fnmatchcase(pattern, broader) for broader in selection.include))
        for pattern in wanted.include
    )


def _not_excluded(selection: ManifestSelection | Selection, wanted: Selection) -> bool:
    left_out = [pattern for pattern in selection.exclude if pattern not in wanted.exclude]
    plain = bool(wanted.include) and all(_is_plain(pattern) for pattern in wanted.include)
    return not left_out or (
        plain and not any(fnmatchcase(n, pattern) for n in wanted.include for pattern in left_out)
    )


def _is_plain(pattern: str) -> bool:
    return not any(character in pattern for character in "*?[")


# -- What lies beside a backup and does not count: one look, for whoever verifies, restores or lists
#
# Whoever may write to a place could have put it there, so it opens nothing and blocks nothing. It may also
# be what is left of a rotation, whose older readers are then let back. So it is always said (FORMAT.md, 13).


class UnlistedObjects(Struct, frozen=True, kw_only=True):
    """What was ignored to read a backup.

    ``aside`` has nothing in its place. ``repaired`` has: a copy of the same generation counts.
    ``others`` are further backups in the same file.
    """

    aside: tuple[UnreadableEnvelope, ...] = ()
    repaired: tuple[UnreadableEnvelope, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def error(self) -> LeftAside | None:
        """What a command ends with once it has done all that it can; ``None`` if nothing was left aside."""
        if not self.aside:
            return None
        newer = [backup_of(envelope.name) for envelope in self.aside if envelope.name.startswith(MANIFESTS)]
        return LeftAside(
            f"{plural(len(self.aside), 'object')} beside the backup did not count: "
            f"{describe_ignored(self.aside)}",
            hint=_HINT.format(newer[0]) if newer else None,
        )


_HINT = (
    "A newer backup may be damaged here: 'strongroom backups repair {}' brings its manifest from another "
    "target. If "
    "nobody here made it, somebody else writes there: keep it as evidence, then remove it. "
    "See docs/how-to/symptoms.md."
)


def describe_ignored(aside: tuple[UnreadableEnvelope, ...]) -> str:
    """Name what was left aside, each with its class and reason."""
    return "; ".join(f"{envelope.name} ({envelope.code}: {envelope.reason})" for envelope in aside)


def look_beside(
    objects: Objects, manifest: Manifest, *, trusted: frozenset[str] | None, newest: bool = False
) -> UnlistedObjects:
    """Find what lies beside a backup on one place and does not count.

    Args:
        trusted: the same pins that the backup is read with.
        newest: it was taken as the newest of its target, so newer ones that do not count were passed over.
    """
    aside: list[UnreadableEnvelope] = []
    repaired = list(_copies(objects, manifest.backup_id, trusted))
    for key in wrapping_keys(manifest):
        placed_envelopes = find_newest(objects, key, trusted=trusted)
        aside += placed_envelopes.doubtful
        repaired += placed_envelopes.replaced
    listing = ManifestListing(objects)
    if newest:
        aside += _newer(listing, manifest.backup_id, trusted)
    is_file = isinstance(objects, BundleReader)  # of a target nobody is surprised that it holds several
    others = [backup for backup in listing.backups if backup != manifest.backup_id] if is_file else []
    return UnlistedObjects(aside=tuple(aside), repaired=tuple(repaired), others=tuple(others))


def _copies(objects: Objects, backup: str, trusted: frozenset[str] | None) -> Iterator[UnreadableEnvelope]:
    """Yield the copies of a manifest that come before the one that counts."""
    refused: list[FormatError] = []
    name = manifest_name(backup)
    names = copies(objects, name)

    def parsed(content: bytes) -> None:
        try:
            held_to_name(content, backup, trusted=trusted)
        except FormatError as error:
            refused.append(error)
            raise

    with suppress(FormatError):  # of a distrusted signer, say: that is told as such
        sound_copy(objects, name, parsed, names=names)
        for unread_name, error in zip(names, refused, strict=False):
            yield UnreadableEnvelope(name=unread_name, code=error.code, reason=error.message)


MOST_NEWER = 64
"""Newer manifests that are looked at: whoever fills a target with junk makes nobody read all of it twice."""


def _newer(
    listing: ManifestListing, backup: str, trusted: frozenset[str] | None
) -> Iterator[UnreadableEnvelope]:
    """Yield the newer backups of a place whose manifests do not count, and why."""
    for other in islice((newer for newer in reversed(listing.backups) if newer > backup), MOST_NEWER):
        try:
            listing.read(other, trusted=trusted)
        except FormatError as error:
            yield UnreadableEnvelope(name=manifest_name(other), code=error.code, reason=error.message)


# -- What a choice of backups is made of: places, replicas, backups known and passed over, and words


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
    said = "; ".join(f"'{name}': {error.message.rstrip('.')}" for name, error in away.items())
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
