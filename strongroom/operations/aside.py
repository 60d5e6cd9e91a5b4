"""What lies beside a backup and does not count: one look, for whoever verifies, restores or lists.

Whoever may write to a place could have put it there, so it opens nothing and blocks nothing. It may also
be what is left of a rotation, whose older readers are then let back. So it is always said (FORMAT.md, 13).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from msgspec import Struct

from strongroom.container.bundle import BundleReader
from strongroom.container.manifest import Manifest
from strongroom.errors import FormatError, LeftAside
from strongroom.operations.envelopes import Aside, find_newest, wrapping_keys
from strongroom.operations.layout import manifest_name
from strongroom.targets.repaired import Objects, copies, sound_copy
from strongroom.targets.shelf import Shelf, held_to_name
from strongroom.words import plural


class Beside(Struct, frozen=True, kw_only=True):
    """What was passed over to read a backup.

    ``aside`` has nothing in its place. ``repaired`` has: a copy of the same generation counts.
    ``others`` are further backups in the same file.
    """

    aside: tuple[Aside, ...] = ()
    repaired: tuple[Aside, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def error(self) -> LeftAside | None:
        """What a command ends with once it has done all that it can; ``None`` if nothing was left aside."""
        if not self.aside:
            return None
        return LeftAside(
            f"{plural(len(self.aside), 'object')} beside the backup did not count: {said(self.aside)}"
        )


def said(aside: tuple[Aside, ...]) -> str:
    """Name what was left aside, each with its class and reason."""
    return "; ".join(f"{one.name} ({one.code}: {one.reason})" for one in aside)


def look_beside(objects: Objects, manifest: Manifest, *, trusted: frozenset[str] | None) -> Beside:
    """Find what lies beside a backup on one place and does not count.

    Args:
        trusted: the same pins that the backup is read with.
    """
    aside: list[Aside] = []
    repaired = list(_copies(objects, manifest.backup_id, trusted))
    for key in wrapping_keys(manifest):
        found = find_newest(objects, key, trusted=trusted)
        aside += found.doubtful
        repaired += (one for one in found.aside if one not in found.doubtful)
    others: list[str] = []
    if isinstance(objects, BundleReader):
        others, newer = _others(objects, manifest.backup_id, trusted)
        aside += newer
    return Beside(aside=tuple(aside), repaired=tuple(repaired), others=tuple(others))


def _copies(objects: Objects, backup: str, trusted: frozenset[str] | None) -> Iterator[Aside]:
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
        for one, error in zip(names, refused, strict=False):
            yield Aside(name=one, code=error.code, reason=error.message)


def _others(file: BundleReader, backup: str, trusted: frozenset[str] | None) -> tuple[list[str], list[Aside]]:
    """Return the ids of other backups in a file, and the newer ones of them whose manifests do not count."""
    shelf = Shelf(file)
    others = [one for one in shelf.backups if one != backup]
    newer: list[Aside] = []
    for other in (one for one in others if one > backup):
        try:
            shelf.read(other, trusted=trusted)
        except FormatError as error:
            newer.append(Aside(name=manifest_name(other), code=error.code, reason=error.message))
    return others, newer
