"""undelete: a backup that is marked is not deleted after all, by any host, until a person lets it go."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.container.marks import DeletionMark
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.archive import holds
from strongroom.operations.archive.deletions import counting, make_mark, read_deletions, write_deletion
from strongroom.operations.layout import manifest_name
from strongroom.operations.services import Services
from strongroom.targets import Target
from strongroom.targets.repaired import copies

UNDELETED = "backup.undeleted"


class Undeleted(Struct, frozen=True, kw_only=True):
    """Which targets show the backup, and on which it could not be said that it stays, and why."""

    backup: str
    targets: tuple[str, ...]
    failed: Mapping[str, str]


def undelete(services: Services, backup: str, *, reason: str, by: str) -> Undeleted:
    """Take a deletion mark back, and hold the backup: the next prune would mark it again.

    A prune may be at work on it, so only what is there afterwards was kept.

    Raises:
        UsageError: it is not marked.
        MissingPiece: it is deleted already, everywhere, or was meanwhile.
    """
    mark = counting(read_deletions(services, backup=backup).values(), backup)
    if mark is None or mark.state == "undeleted":
        raise UsageError(
            f"Backup {backup} is not marked to be deleted. Nothing was changed.",
            hint=f"To keep it whatever its policy says: strongroom backups hold add --backup {backup} "
            "--reason TEXT",
        )
    if not _showing(services, backup):
        raise _gone(f"Backup {backup} was deleted on purpose, since {mark.at}", mark)
    failed = holds.hold(services, "backup", backup, reason=reason, by=by)
    undone = make_mark(backup, "undeleted", reason=reason, by=by)
    failed |= write_deletion(services, list(services.targets.values()), undone)
    services.store.event(UNDELETED, backup=backup, reason=reason, by=by)
    showing = _showing(services, backup)
    if not showing:
        raise _gone(f"Backup {backup} was deleted while its mark was taken back", mark)
    return Undeleted(backup=backup, targets=showing, failed=failed)


def _gone(what: str, mark: DeletionMark) -> MissingPiece:
    return MissingPiece(
        f"{what}, and no target that answers has it: {mark.reason}.",
        hint="If a target that may have it does not answer, repeat this when it does. Where a store "
        "keeps versions, its administrator may bring back what was deleted.",
    )


def _showing(services: Services, backup: str) -> tuple[str, ...]:
    return tuple(name for name, target in services.targets.items() if _shows(target, backup))


def _shows(target: Target, backup: str) -> bool:
    try:
        return bool(copies(target, manifest_name(backup)))
    except StrongroomError:
        return False
