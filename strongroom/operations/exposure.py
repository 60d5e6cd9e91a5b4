"""exposure: what keys that were rotated away still open, where, and until when.

Rotation takes nothing back. A container's own envelope is part of it, and what is locked,
copied or offline stays as it is. So whoever rotates is told what is left, until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from strongroom.container.manifest import Manifest, ManifestRecipient
from strongroom.errors import StrongroomError
from strongroom.keys import Recipient
from strongroom.operations.layout import container_name
from strongroom.targets import Locking, Target


class StillOpens(Struct, frozen=True, kw_only=True):
    """A backup that keys rotated away still open, on one target, by its containers' own envelopes.

    ``keys`` say in words who that is. ``until`` is when the lock there ends: RFC 3339, empty if
    nothing holds it and it goes when it is deleted, ``unknown`` if the target did not say.
    """

    backup: str
    target: str
    keys: tuple[str, ...]
    fingerprints: tuple[str, ...]
    until: str


def still_opens(
    manifest: Manifest, targets: Iterable[Target], recipients: Sequence[Recipient]
) -> list[StillOpens]:
    """Return what of a backup opens for recipients that it was sealed for and that are gone."""
    wanted = {recipient.fingerprint for recipient in recipients}
    gone = [one for one in manifest.recipients if one.fingerprint not in wanted]
    return list(_on_each(manifest, targets, gone)) if manifest.sealed and gone else []


def _on_each(
    manifest: Manifest, targets: Iterable[Target], gone: Sequence[ManifestRecipient]
) -> Iterator[StillOpens]:
    for target in targets:
        yield StillOpens(
            backup=manifest.backup_id,
            target=target.name,
            keys=tuple(one.describes for one in gone),
            fingerprints=tuple(one.fingerprint for one in gone),
            until=locked_until(manifest, target),
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
