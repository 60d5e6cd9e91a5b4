"""Who needs what: the one table that ``check rights`` judges by and ``cluster rules`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from strongroom.model import Role

PAGE, METRICS = "page", "metrics"
"""What only reads: it sends no message, so it is no role and has no key."""


class TargetAction(StrEnum):
    """What a credential of a target may be needed for."""

    PUT = "put"
    MARK = "put marks"
    READ = "read"
    LIST = "list"
    SETTINGS = "look at the settings"
    DELETE = "delete"
    VERSIONS = "tell what is hidden"
    DESTROY = "remove versions"


_LOOKS = frozenset({TargetAction.READ, TargetAction.LIST, TargetAction.SETTINGS})
_PUTS = frozenset({TargetAction.PUT, TargetAction.READ, TargetAction.LIST})
_SWEEPS = _PUTS | _LOOKS | {TargetAction.VERSIONS, TargetAction.DELETE}

ON_TARGETS: Final[Mapping[str, frozenset[TargetAction]]] = {
    Role.OPERATOR: _SWEEPS,
    Role.CONTROL: _SWEEPS,
    Role.TRANSFER: _PUTS,
    Role.RECOVER: _PUTS | {TargetAction.VERSIONS},
    Role.VERIFY: _LOOKS,
    Role.DRILL: _LOOKS,
    Role.PRUNE: _LOOKS
    | {TargetAction.MARK, TargetAction.DELETE, TargetAction.VERSIONS, TargetAction.DESTROY},
    METRICS: _LOOKS,
    PAGE: _LOOKS,
}
"""What each does with a target. ``control`` writes manifests and sweeps; who rotates or removes says what
old keys still open, what deletes only hid included. ``prune`` deletes for good, and puts its marks alone."""

READS_SOURCES: Final = frozenset({Role.CONTROL, Role.SEAL, Role.VERIFY, Role.RECOVER, Role.OPERATOR})
WRITES_SOURCES: Final = frozenset({Role.RECOVER, Role.OPERATOR})
"""Those that are destinations."""
TAKES_SNAPSHOTS: Final = frozenset({Role.CONTROL, Role.OPERATOR})
SEALS: Final = frozenset({Role.SEAL, Role.RECOVER, Role.OPERATOR})
"""``recover`` seals what a restore overwrites, and what a rotation wraps anew."""
OPENS: Final = frozenset({Role.VERIFY, Role.DRILL, Role.RECOVER, Role.OPERATOR})
REHEARSES: Final = frozenset({Role.DRILL, Role.OPERATOR})
ROTATES_SECRETS: Final = frozenset({Role.RECOVER, Role.OPERATOR})

GRANTED: Final = (
    *(Role.CONTROL, Role.SEAL, Role.TRANSFER, Role.VERIFY, Role.DRILL, Role.RECOVER, Role.PRUNE),
    *(METRICS, PAGE),
)
"""Those of whom a store or a server of keys is told, each by itself."""


class Errand(StrEnum):
    """What a person is granted for an hour, beside what the operator has, and nobody on an ordinary day."""

    READ_BACKUPS = "read-backups"
    UNDO = "undo"
    REBUILD = "rebuild"
    REBUILD_UNDO = "rebuild-undo"
    SNAPSHOT = "restore-snapshot"
    RETENTION = "retention"
    SHRED = "shred"
    REARM = "rearm"
