"""What really lies on the targets: which manifests, and what the signed ones say.

The record is held against it. A row without its manifest is no backup; a manifest without a row is one all
the same, since a database may be lost, put back or edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Final

from msgspec import Struct

from strongroom.container.errors import FormatError, MissingPiece, Tampered
from strongroom.container.manifest import Manifest, parse_manifest
from strongroom.errors import StrongroomError
from strongroom.operations.facts.watched import WatchedInstallation
from strongroom.targets import Target
from strongroom.targets.manifest_listing import ManifestListing

AT_ONCE: Final = 8
STRANGERS: Final = 100
"""Manifests that the record does not know and that are read though every policy has been found."""
SOUGHT: Final = 5000
"""The same as long as one has not: where there is no record, a monthly backup lies under many of an hour."""


class TargetManifests(Struct, frozen=True, kw_only=True):
    """The backups whose manifest a target shows; why it could not be checked, if so."""

    backups: frozenset[str] = frozenset()
    away: str | None = None
    listing: ManifestListing | None = None


def list_targets(watched: WatchedInstallation, names: Iterable[str]) -> dict[str, TargetManifests]:
    """List targets, several at once: a dead region must not delay the others."""
    wanted = sorted(names)
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(
            zip(wanted, threads.map(lambda name: _listed(watched.targets[name]), wanted), strict=True)
        )


def _listed(target: Target) -> TargetManifests:
    try:
        listing = ManifestListing(target)
        return TargetManifests(backups=frozenset(listing.backups), listing=listing)
    except StrongroomError as error:
        return TargetManifests(away=error.message)


class Manifests:
    """The manifests on the targets, each read once, and what was refused.

    ``refused`` names, by target, the backups whose manifest is altered, or signed by nobody who is trusted.
    """

    def __init__(self, watched: WatchedInstallation, found: Mapping[str, TargetManifests]) -> None:
        self._watched = watched
        self._found = found
        self._read: dict[tuple[str, str], Manifest | None] = {}
        self.refused: dict[str, list[str]] = {}

    def names(self) -> list[str]:
        """Return every backup that lies anywhere, newest first: the names begin with the time."""
        return sorted(
            frozenset().union(*(manifests.backups for manifests in self._found.values())), reverse=True
        )

    def of(self, backup: str) -> Manifest | None:
        """Return a backup's manifest from the first target that shows a sound one."""
        return next((manifest for manifest in self._of_each(backup) if manifest), None)

    def read_everywhere(self, backup: str) -> None:
        """Read a backup's manifest on every target that shows it: a sound one hides no altered one."""
        list(self._of_each(backup))

    def _of_each(self, backup: str) -> Iterator[Manifest | None]:
        for name, manifests in self._found.items():
            if backup in manifests.backups:
                if (name, backup) not in self._read:
                    self._read[name, backup] = self._from(name, backup)
                yield self._read[name, backup]

    def _from(self, target: str, backup: str) -> Manifest | None:
        def parsed(content: bytes) -> Manifest:
            manifest = parse_manifest(content, trusted=self._watched.trusted)
            if manifest.backup_id != backup:  # an old one under a new name would pass for a new backup
                raise Tampered(f"the manifest named '{backup}' belongs to '{manifest.backup_id}'")
            return manifest

        listing = self._found[target].listing
        assert listing is not None  # it showed this backup
        try:
            return listing.parsed(backup, parsed)
        except MissingPiece:  # removed since it was listed
            return None
        except FormatError:
            self.refused.setdefault(target, []).append(backup)
            return None
        except StrongroomError:  # the target went away; another may have it
            return None


def newest_unrecorded(
    manifests: Manifests, unknown: Iterable[str], policies: frozenset[str], *, latest: float
) -> dict[str, Manifest]:
    """Return the newest manifest of each policy among those that the record does not know, newest first.

    Args:
        latest: what says that it was made after this time (epoch seconds) is passed over.
    """
    found: dict[str, Manifest] = {}
    for number, backup in enumerate(unknown):
        if number >= (SOUGHT if policies - found.keys() else STRANGERS):
            break
        manifest = manifests.of(backup)
        if manifest is not None and manifest.policy in policies and made_at(manifest) <= latest:
            found.setdefault(manifest.policy, manifest)
    return found


def made_at(manifest: Manifest) -> float:
    """Return when a backup was made, in seconds since the epoch: long ago, if it does not say."""
    return when(manifest.created_at) or 0.0


def when(text: str) -> float | None:
    """Return the time that a text says, in seconds since the epoch; ``None`` if it says none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None
