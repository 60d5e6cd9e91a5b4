"""exposure: what keys that were rotated away still open, where, and until when.

Rotation takes nothing back. A container's own envelope is part of it, and what is locked,
copied or offline stays as it is. Where a target keeps versions, what was deleted there is only
hidden. So whoever rotates is told what is left, until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.keys import Recipient
from strongroom.operations.archive.envelopes import envelopes_prefix, wrapping_keys
from strongroom.operations.archive.old_versions import (
    NO_VERSIONS,
    UNKNOWN,
    OldVersions,
    hidden_of,
    locked_until,
    old_versions,
)
from strongroom.targets import Target

EARLIER = "the recipients of an envelope that was removed"
"""Said where nothing but a hidden envelope tells of a key: whom it is for, only its bytes say."""


class StillOpens(Struct, frozen=True, kw_only=True):
    """A backup that keys rotated away still open, on one target, by its containers' own envelopes.

    ``keys`` say in words who that is. ``until`` is when the lock there ends: RFC 3339, empty if
    nothing holds it and it goes when it is deleted, ``unknown`` if the target did not say. One that
    was not ``reached``, a medium in a safe, opens for them as it did before. One that is ``deleted``
    is there as ``old_versions`` alone. ``names``: not the backup, but its index of names opens.
    """

    backup: str
    target: str
    keys: tuple[str, ...]
    fingerprints: tuple[str, ...]
    until: str
    reached: bool = True
    deleted: bool = False
    old_versions: OldVersions = NO_VERSIONS
    names: bool = False


def still_opens(
    manifest: Manifest,
    targets: Iterable[Target],
    recipients: Sequence[Recipient],
    *,
    away: Iterable[str] = (),
    leaked: bool = False,
) -> list[StillOpens]:
    """Return what of a backup opens for recipients that it was sealed for and that are gone.

    A target that hides an older envelope is named too, though the backup was sealed for nobody else:
    rotations remove the envelopes in between, and each was for somebody.

    Args:
        away: the names of further targets that hold it and were not reached.
        leaked: whether it was sealed anew. Then one of its keys is suspected, and if none is
            gone by its name (a key service has a new version of it), all of them are counted.
    """
    wanted = {recipient.fingerprint for recipient in recipients}
    gone = [recipient for recipient in manifest.recipients if recipient.fingerprint not in wanted]
    if leaked and not gone:
        gone = list(manifest.recipients)
    if not manifest.sealed:
        return []
    there = [_there(manifest, target, gone) for target in targets]
    unreached = [_on(manifest, name, gone, until=UNKNOWN, reached=False) for name in away if gone]
    return [still_open for still_open in there if still_open is not None] + unreached


def _there(manifest: Manifest, target: Target, gone: Sequence[ManifestRecipient]) -> StillOpens | None:
    keys = tuple(wrapping_keys(manifest))
    if not gone:
        old = old_versions(target, *map(envelopes_prefix, keys))
        found = _on(manifest, target.name, gone, until=locked_until(manifest, target), old=old)
        return found if old.count > 0 else None
    old = hidden_of(target, manifest.backup_id, keys)
    return _on(manifest, target.name, gone, until=locked_until(manifest, target), old=old)


def _on(
    manifest: Manifest,
    name: str,
    gone: Sequence[ManifestRecipient],
    *,
    until: str,
    reached: bool = True,
    old: OldVersions = NO_VERSIONS,
) -> StillOpens:
    return StillOpens(
        backup=manifest.backup_id,
        target=name,
        keys=tuple(recipient.describes for recipient in gone) or (EARLIER,),
        fingerprints=tuple(recipient.fingerprint for recipient in gone),
        until=until,
        reached=reached,
        old_versions=old,
    )
