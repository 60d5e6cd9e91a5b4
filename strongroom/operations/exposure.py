"""exposure: what keys that were rotated away still open, where, and until when.

Rotation takes nothing back. A container's own envelope is part of it, and what is locked,
copied or offline stays as it is. So whoever rotates is told what is left, until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import StrongroomError
from strongroom.keys import Recipient
from strongroom.operations.layout import container_name
from strongroom.targets import Locking, Target


class StillOpens(Struct, frozen=True, kw_only=True):
    """A backup that keys rotated away still open, on one target, by its containers' own envelopes.

    ``keys`` say in words who that is. ``until`` is when the lock there ends: RFC 3339, empty if
    nothing holds it and it goes when it is deleted, ``unknown`` if the target did not say. One that
    was not ``reached``, a medium in a safe, opens for them as it did before.
    """

    backup: str
    target: str
    keys: tuple[str, ...]
    fingerprints: tuple[str, ...]
    until: str
    reached: bool = True


def still_opens(
    manifest: Manifest,
    targets: Iterable[Target],
    recipients: Sequence[Recipient],
    *,
    away: Iterable[str] = (),
    leaked: bool = False,
) -> list[StillOpens]:
    """Return what of a backup opens for recipients that it was sealed for and that are gone.

    Args:
        away: the names of further targets that hold it and were not reached.
        leaked: whether it was sealed anew. Then one of its keys is suspected, and if none is
            gone by its name (a keeper has a new version of it), all of them are counted.
    """
    wanted = {recipient.fingerprint for recipient in recipients}
    gone = [one for one in manifest.recipients if one.fingerprint not in wanted]
    if leaked and not gone:
        gone = list(manifest.recipients)
    if not (manifest.sealed and gone):
        return []
    there = [_on(manifest, target.name, gone, until=locked_until(manifest, target)) for target in targets]
    return there + [_on(manifest, name, gone, until="unknown", reached=False) for name in away]


def _on(
    manifest: Manifest, name: str, gone: Sequence[ManifestRecipient], *, until: str, reached: bool = True
) -> StillOpens:
    return StillOpens(
        backup=manifest.backup_id,
        target=name,
        keys=tuple(one.describes for one in gone),
        fingerprints=tuple(one.fingerprint for one in gone),
        until=until,
        reached=reached,
    )


def locked_until(manifest: Manifest, target: Target) -> str:
    """Return when the lock on a backup's first container ends on a target; see :class:`StillOpens`."""
    if not (isinstance(target, Locking) and target.locks and manifest.containers):
        return ""
    try:
        found = target.locked_until(container_name(manifest.backup_id, manifest.containers[0].sha256))
    except StrongroomError:
        return "unknown"
    return found.isoformat() if found else ""
