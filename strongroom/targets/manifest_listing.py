"""The manifests that a place shows, by one listing.

Whoever may write to a target may put thousands of objects there. Who looks through manifests therefore
lists them once, and reads of each no more than tells that it is none of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from strongroom.container.errors import MissingPiece
from strongroom.container.manifest import SignedManifest, open_manifest
from strongroom.targets.repaired import Objects, original_name, sound_copy

T = TypeVar("T")

MANIFESTS = "manifests/"
_NAME = re.compile(r"manifests/([^/]+)\.json(?:\.r[1-9])?")
"""A manifest's name, or a copy's (FORMAT.md, 7). What else lies there is none, and nothing of ours."""


class ManifestListing:
    """The backups that a place shows. Raises TargetError, when it is made, if the place does not answer."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._copies: dict[str, list[str]] = {}
        for info in objects.list(MANIFESTS):
            if match := _NAME.fullmatch(info.name):
                self._copies.setdefault(match[1], []).append(info.name)

    def __contains__(self, backup: object) -> bool:
        return backup in self._copies

    def __len__(self) -> int:
        return len(self._copies)

    @property
    def backups(self) -> list[str]:
        """Their ids, oldest first: they begin with the time."""
        # Sorted without the suffix: what was sealed anew (ID-r1) comes after what it replaces.
        return sorted(self._copies)

    def read(self, backup: str, *, trusted: frozenset[str] | None, receipts: bool = True) -> SignedManifest:
        """Return the first copy of a backup's manifest that is sound.

        Args:
            receipts: whether its containers' receipts are checked, as
                :func:`~strongroom.container.manifest.open_manifest` does.

        Raises:
            FormatError: why the first copy is not.
        """
        return self.parsed(
            backup, lambda content: held_to_name(content, backup, trusted=trusted, receipts=receipts)
        )

    def parsed(self, backup: str, parse: Callable[[bytes], T]) -> T:
        """Return what ``parse`` makes of the first copy that it does not refuse."""
        return sound_copy(
            self.objects, f"{MANIFESTS}{backup}.json", parse, names=self._copies.get(backup, ())
        )


def held_to_name(
    content: bytes, backup: str, *, trusted: frozenset[str] | None, receipts: bool = True
) -> SignedManifest:
    """Parse a manifest and hold it to its name: an old one under a new name would pass for a new backup."""
    signed = open_manifest(content, trusted=trusted, receipts=receipts)
    if signed.manifest.backup_id != backup:
        raise MissingPiece(f"the manifest named '{backup}' belongs to backup '{signed.manifest.backup_id}'")
    return signed


def backup_of(name: str) -> str:
    """Return the backup that a manifest's name is of."""
    return original_name(name).removeprefix(MANIFESTS).removesuffix(".json")
