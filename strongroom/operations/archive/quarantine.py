"""quarantine: backups that are not to be restored from until somebody has looked.

On record here as events, the last one of a backup counts; and as a signed mark beside the backup on each
target, which every other host heeds too (:mod:`.quarantine_marks`). It isolates nothing
on the targets: whoever reaches those reads what lies there, which is why an incident rotates as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal

from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.errors import StrongroomError
from strongroom.operations.archive.marks import Marks, MarksThere, fit, merge_marks, write_mark
from strongroom.operations.archive.quarantine_marks import QUARANTINED, RELEASED, Recorded, why_aside
from strongroom.operations.errors import BackupQuarantined
from strongroom.state.records import Event
from strongroom.targets import Target
from strongroom.timestamps import rfc3339

if TYPE_CHECKING:  # a restore chooses with this, and loads no database
    from strongroom.operations.services import Services
    from strongroom.state.store import RunStore

_PAGE = 1000

Unmarked = Mapping[str, Mapping[str, str]]
"""Where a mark could not be written, and why: by backup and target."""


def quarantine(
    services: Services, backups: Iterable[str], *, incident: str, reason: str, by: str = ""
) -> Unmarked:
    """Put backups into quarantine: on record, and by a mark on each target that has them."""
    unmarked: dict[str, Mapping[str, str]] = {}
    for backup in backups:
        services.store.event(QUARANTINED, backup=backup, incident=incident, reason=reason)
        failed = _mark(services, backup, "quarantined", reason=reason, incident=incident, by=by)
        unmarked |= {backup: failed} if failed else {}
    return unmarked


def release(services: Services, backups: Iterable[str], *, reason: str, by: str = "") -> Unmarked:
    """Let backups be restored from again, by every host that reads the marks."""
    unmarked: dict[str, Mapping[str, str]] = {}
    for backup in backups:
        services.store.event(RELEASED, backup=backup, reason=reason)
        failed = _mark(services, backup, "released", reason=reason, incident="", by=by)
        unmarked |= {backup: failed} if failed else {}
    return unmarked


def _mark(
    services: Services,
    backup: str,
    state: Literal["quarantined", "released"],
    *,
    reason: str,
    incident: str,
    by: str,
) -> dict[str, str]:
    mark = QuarantineMark(
        backup_id=backup,
        number=1,
        state=state,
        reason=fit(reason),
        incident=incident,
        by=fit(by),
        at=rfc3339(time.time()),
    )
    return write_mark(
        list(_holding(services, backup)),
        QUARANTINE,
        mark,
        signer=services.signers("control"),
        trusted=services.signer_fingerprints,
    )


def _holding(services: Services, backup: str) -> Iterator[Target]:
    """Yield the targets that hold a backup by the record; where it has none of it, all: another host made it.

    What a command wrote into a file lies on no target, and is on record without one.
    """
    names = [replica.target for replica in services.store.replicas(backup)]
    if not names and services.store.backup(backup) is None:
        names = list(services.targets)
    yield from (services.target(name) for name in names if name in services.targets)


def marks(services: Services) -> Marks[QuarantineMark]:
    """Return the marks that count on all targets that answer."""
    by_target: list[Marks[QuarantineMark]] = []
    for target in services.targets.values():
        try:
            by_target.append(MarksThere(target, QUARANTINE, trusted=services.signer_fingerprints).all())
        except StrongroomError:  # one that is away marks nothing
            continue
    return merge_marks(QUARANTINE, by_target)


def all_quarantined(services: Services) -> dict[str, str]:
    """Return what is in quarantine by the record here or by a mark on a target, and why."""
    found, known = marks(services).newest, quarantined_on_record(services.store)
    why = {backup: why_aside(found.get(backup), known.get(backup)) for backup in {*found, *known}}
    return {backup: said for backup, said in why.items() if said}


def quarantined(services: Services) -> dict[str, str]:
    """Return the backups in quarantine by the record here, each with the incident that put it there."""
    return on_record(services.store)


def on_record(store: RunStore) -> dict[str, str]:
    """Return what a record has in quarantine, each backup with the incident that put it there."""
    return {backup: incident for backup, (incident, _) in _last(store).items() if incident}


def quarantined_on_record(store: RunStore) -> dict[str, Recorded]:
    """Return what a record has in quarantine, why and since when."""
    return {
        backup: Recorded(f"since incident {incident}", at)
        for backup, (incident, at) in _last(store).items()
        if incident
    }


def recorded_marks(store: RunStore) -> dict[str, QuarantineMark]:
    """Return what a record has in quarantine, as marks that say so; their numbers say nothing."""
    return {
        backup: QuarantineMark(
            backup_id=backup,
            number=1,
            state="quarantined",
            reason=fit(str(event.detail.get("reason", ""))),
            incident=fit(str(event.detail["incident"])),
            by="",
            at=rfc3339(event.at),
        )
        for backup, event in _last_events(store).items()
        if event.detail.get("incident")
    }


def _last(store: RunStore) -> dict[str, tuple[str, float]]:
    """Return the incident and time of each backup's last event; one of a release has no incident."""
    last = _last_events(store)
    return {backup: (str(one.detail.get("incident", "")), one.at) for backup, one in last.items()}


def _last_events(store: RunStore) -> dict[str, Event]:
    last: dict[str, Event] = {}
    for kind in (QUARANTINED, RELEASED):
        after = 0
        while page := store.events(kind=kind, after=after, limit=_PAGE):
            for event in page:
                backup = str(event.detail["backup"])
                if backup not in last or event.id > last[backup].id:
                    last[backup] = event
            after = page[-1].id
    return last


def check(services: Services, backup: str) -> None:
    """Raise BackupQuarantined if a backup must not be restored from."""
    if incident := quarantined(services).get(backup):
        raise BackupQuarantined(f"Backup {backup} is in quarantine since incident {incident}.")
