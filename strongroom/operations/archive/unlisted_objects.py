"""What lies beside a backup and does not count: one look, for whoever verifies, restores or lists.

Whoever may write to a place could have put it there, so it opens nothing and blocks nothing. It may also
be what is left of a rotation, whose older readers are then let back. So it is always said (FORMAT.md, 13).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from msgspec import Struct

from strongroom.container.errors import FormatError
from strongroom.container.manifest import Manifest
from strongroom.operations.archive.envelopes import UnreadableEnvelope, find_newest, wrapping_keys
from strongroom.operations.errors import LeftAside
from strongroom.operations.layout import manifest_name
from strongroom.targets.manifest_listing import MANIFESTS, ManifestListing, backup_of, held_to_name
from strongroom.targets.repaired import Objects, copies, sound_copy
from strongroom.targets.single_file import BundleReader
from strongroom.words import plural


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
        found = find_newest(objects, key, trusted=trusted)
        aside += found.doubtful
        repaired += found.replaced
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
