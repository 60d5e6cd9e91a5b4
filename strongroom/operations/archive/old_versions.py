"""What deleting leaves behind of a backup: versions that a target hides, and locks, each until when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.errors import StrongroomError
from strongroom.operations.archive.envelopes import envelopes_prefix
from strongroom.operations.layout import container_name, containers_prefix
from strongroom.targets import Target, locks
from strongroom.targets.hidden import HiddenVersion, hidden_versions

UNKNOWN = "unknown"


class OldVersions(Struct, frozen=True, kw_only=True):
    """What a target hides of a backup: versions that were covered or deleted, and can be read all the same.

    ``count`` is -1 if that cannot be told. ``locked_until`` is when the last lock on them ends, ``until``
    when the last of them is removed by a rule of the store: RFC 3339; empty if there is no lock, no
    rule that removes all; ``unknown`` if it may not be read.
    """

    count: int = 0
    locked_until: str = ""
    until: str = ""


NO_VERSIONS = OldVersions()
UNTOLD = OldVersions(count=-1, locked_until=UNKNOWN, until=UNKNOWN)


def locked_until(manifest: Manifest, target: Target) -> str:
    """Return when the lock on a backup's first container ends on a target; see :class:`StillOpens`."""
    if not (locks(target) and manifest.containers):
        return ""
    try:
        found = target.locked_until(container_name(manifest.backup_id, manifest.containers[0].sha256))
    except StrongroomError:
        return UNKNOWN
    return found.isoformat() if found else ""


def hidden_of(target: Target, backup: str, keys: Iterable[str]) -> OldVersions:
    """Return what a target hides of a backup: containers, and envelopes of these wrapping keys."""
    return old_versions(target, containers_prefix(backup), *map(envelopes_prefix, keys))


def old_versions(target: Target, *prefixes: str) -> OldVersions:
    """Return what a target hides under prefixes. One that does not answer, or may not be asked, is said."""
    try:
        found = [hidden_version for prefix in prefixes for hidden_version in hidden_versions(target, prefix)]
    except StrongroomError:
        return UNTOLD
    if not found:
        return NO_VERSIONS
    return OldVersions(count=len(found), locked_until=_locks_end(found), until=_rules_end(found))


def _locks_end(found: Sequence[HiddenVersion]) -> str:
    if not all(hidden_version.lock_known for hidden_version in found):
        return UNKNOWN
    return _latest(
        [hidden_version.locked_until for hidden_version in found if hidden_version.locked_until is not None]
    )


def _rules_end(found: Sequence[HiddenVersion]) -> str:
    """A rule that ends all but one ends nothing: that one opens."""
    if any(hidden_version.expires is None and hidden_version.rule_known for hidden_version in found):
        return ""
    return (
        UNKNOWN
        if not all(hidden_version.rule_known for hidden_version in found)
        else _latest([hidden_version.expires for hidden_version in found])
    )


def _latest(ends: Iterable[datetime | None]) -> str:
    last = max((end for end in ends if end is not None), default=None)
    return last.isoformat() if last else ""
