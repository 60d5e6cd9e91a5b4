"""quarantine: backups that are not to be restored from until somebody has looked.

On record as events, the last one of a backup counts. It isolates nothing on the targets: whoever
reaches those reads what lies there, which is why an incident rotates as well.
"""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.errors import BackupQuarantined
from strongroom.operations.services import Services

QUARANTINED, RELEASED = "backup.quarantined", "backup.released"
_PAGE = 1000


def quarantine(services: Services, backups: Iterable[str], *, incident: str, reason: str) -> None:
    """Put backups into quarantine."""
    for backup in backups:
        services.store.event(QUARANTINED, backup=backup, incident=incident, reason=reason)


def release(services: Services, backups: Iterable[str], *, reason: str) -> None:
    """Let backups be restored from again."""
    for backup in backups:
        services.store.event(RELEASED, backup=backup, reason=reason)


def quarantined(services: Services) -> dict[str, str]:
    """Return the backups in quarantine, each with the incident that put it there."""
    last: dict[str, tuple[int, str]] = {}
    for kind in (QUARANTINED, RELEASED):
        after = 0
        while page := services.store.events(kind=kind, after=after, limit=_PAGE):
            for event in page:
                backup = str(event.detail["backup"])
                if event.id > last.get(backup, (0, ""))[0]:
                    last[backup] = (event.id, str(event.detail.get("incident", "")))
            after = page[-1].id
    return {backup: incident for backup, (_, incident) in last.items() if incident}


def check(services: Services, backup: str) -> None:
    """Raise BackupQuarantined if a backup must not be restored from."""
    if incident := quarantined(services).get(backup):
        raise BackupQuarantined(f"Backup {backup} is in quarantine since incident {incident}.")
