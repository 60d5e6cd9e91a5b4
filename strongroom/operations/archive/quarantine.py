"""quarantine: backups that are not to be restored from until somebody has looked.

On record here as events, the last one of a backup counts; and as a signed mark beside the backup on each
target, which every other host heeds too. It isolates nothing on the targets: whoever reaches those reads what
lies there, which is why an incident rotates as well.

Junk among the marks of one place, or marks that are gone from it, make that place unsound and nothing else:
whoever may add objects to one target, or delete them, must not choose what is restored. The other places
decide, or the record of this installation. Where none of these can tell, nobody guesses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from strongroom.container.marks import QUARANTINE, QuarantineMark
from strongroom.errors import StrongroomError
from strongroom.model import Role
from strongroom.operations.engine.statements import (
    AT_ONCE,
    NewestStatement,
    StatementsOn,
    fit,
    highest,
    merge_newest,
    write_mark,
)
from strongroom.operations.errors import BackupQuarantined
from strongroom.targets import Target
from strongroom.targets.reading import Objects
from strongroom.times import rfc3339

if TYPE_CHECKING:  # a restore chooses with this, and loads no database
    from strongroom.operations.engine.services import Services
    from strongroom.state.records import Event
    from strongroom.state.store import RunStore

QUARANTINED, RELEASED = "backup.quarantined", "backup.released"
"""The events that put a backup on record here as set aside, and that let it be used again."""

Unmarked = Mapping[str, Mapping[str, str]]
"""Where a mark could not be written, and why: by backup and target."""


def quarantine(
    services: Services, backups: Iterable[str], *, incident: str, reason: str, by: str = ""
) -> Unmarked:
    """Put backups into quarantine: on record, and by a mark on each target that has them."""
    unmarked: dict[str, Mapping[str, str]] = {}
    services.signers(Role.CONTROL)  # a host that may not sign marks puts nothing on record, either
    for backup in backups:
        services.store.event(QUARANTINED, backup=backup, incident=incident, reason=reason)
        failed = _mark(services, backup, "quarantined", reason=reason, incident=incident, by=by)
        unmarked |= {backup: failed} if failed else {}
    return unmarked


def release(services: Services, backups: Iterable[str], *, reason: str, by: str = "") -> Unmarked:
    """Let backups be restored from again, by every host that reads the marks."""
    unmarked: dict[str, Mapping[str, str]] = {}
    services.signers(Role.CONTROL)
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
        signer=services.signers(Role.CONTROL),
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


def all_quarantined(services: Services) -> dict[str, str]:
    """Return what is in quarantine by the record here or by a mark on a target, and why."""
    by_target: list[NewestStatement[QuarantineMark]] = []
    for target in services.targets.values():
        with suppress(StrongroomError):  # one that is away marks nothing
            by_target.append(StatementsOn(target, QUARANTINE, trusted=services.signer_fingerprints).all())
    found, known = merge_newest(QUARANTINE, by_target).newest, quarantined_on_record(services.store)
    why = {backup: why_aside(found.get(backup), known.get(backup)) for backup in {*found, *known}}
    return {backup: said for backup, said in why.items() if said}


def on_record(store: RunStore) -> dict[str, str]:
    """Return what a record has in quarantine, each backup with the incident that put it there."""
    return {backup: str(event.detail["incident"]) for backup, event in _last_events(store).items()}


def quarantined_on_record(store: RunStore) -> dict[str, RecordedQuarantine]:
    """Return what a record has in quarantine, why and since when."""
    return {
        backup: RecordedQuarantine(f"since incident {event.detail['incident']}", event.at)
        for backup, event in _last_events(store).items()
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
    }


def _last_events(store: RunStore) -> dict[str, Event]:
    """Return the last event of each backup that is in quarantine by a record; a release has no incident."""
    last = {str(event.detail["backup"]): event for event in store.each_event(QUARANTINED, RELEASED)}
    return {backup: event for backup, event in last.items() if event.detail.get("incident")}


def check(services: Services, backup: str) -> None:
    """Raise BackupQuarantined if a backup must not be restored from."""
    if incident := on_record(services.store).get(backup):
        raise BackupQuarantined(f"Backup {backup} is in quarantine since incident {incident}.")


# -- what counts ---------------------------------------------------------------------------------------


class RecordedQuarantine(NamedTuple):
    """Why a backup is in quarantine by a record, and since when, in seconds since the epoch."""

    why: str
    at: float


def why_aside(mark: QuarantineMark | None, recorded: RecordedQuarantine | None) -> str:
    """Say why a backup is in quarantine, by the mark that counts and by a record; nothing if it is not.

    A mark that releases lifts a record's quarantine only if it is younger: the mark of a later quarantine
    may not have reached any target.
    """
    if mark is not None and mark.state == "quarantined":
        by = f" by {mark.by}" if mark.by else ""
        incident = f", incident {mark.incident}" if mark.incident else ""
        return f"since {mark.at}{by}{incident}: {mark.reason}"
    if recorded is None or (mark is not None and datetime.fromisoformat(mark.at).timestamp() >= recorded.at):
        return ""
    return recorded.why


def in_quarantine(backup: str, why: str) -> BackupQuarantined:
    """Return what is said of a backup that was named and is in quarantine."""
    return BackupQuarantined(
        f"Backup {backup} is in quarantine {why}.",
        hint="Take another backup, such as the one that replaced it. If this one is really meant, add: "
        "--use-quarantined. It goes on record.",
    )


_Place = StatementsOn[QuarantineMark] | StrongroomError


class QuarantineReason(NamedTuple):
    """Why a backup is not to be restored from; empty if it is. ``unseen``: since nobody can tell."""

    why: str = ""
    unseen: bool = False


class Quarantine:
    """What is known of each backup's quarantine, over several places.

    Args:
        pins: whose marks of a backup count.
        shows: tells whether a place shows a backup.
        due: the highest number of a backup's marks that the signed heads on the places know of.
        recorded: what the record here has in quarantine; ``on_record`` are the backups that it has at all.
        told: is given a place, a folder of marks there, and what is wrong with it.
    """

    def __init__(
        self,
        places: Mapping[str, Objects],
        *,
        pins: Callable[[str], frozenset[str]],
        shows: Callable[[str, str], bool],
        due: Callable[[str], int],
        recorded: Mapping[str, RecordedQuarantine],
        on_record: frozenset[str],
        told: Callable[[str, str, str], None],
    ) -> None:
        self._places = places
        self._pins = pins
        self._shows = shows
        self._due = due
        self._recorded = recorded
        self._on_record = on_record
        self._told = told
        self._there: dict[frozenset[str], dict[str, _Place]] = {}
        self._verdicts: dict[str, QuarantineReason] = {}

    def of(self, backup: str) -> QuarantineReason:
        """Tell whether a backup is in quarantine."""
        if backup not in self._verdicts:
            self._verdicts[backup] = self._judge(backup)
        return self._verdicts[backup]

    def _judge(self, backup: str) -> QuarantineReason:
        found = dict(self._newest(backup))
        failed = {
            name: quarantine_mark
            for name, quarantine_mark in found.items()
            if isinstance(quarantine_mark, StrongroomError)
        }
        marks = {
            name: quarantine_mark
            for name, quarantine_mark in found.items()
            if not isinstance(quarantine_mark, StrongroomError)
        }
        newest = highest(QUARANTINE, marks.values())
        seen = newest.number if newest is not None else 0
        due = max(seen, self._due(backup))
        folder = f"{QUARANTINE.prefix}{backup}/"
        unsound = {name: f"{error.code}: {error.message}" for name, error in failed.items()}
        for name, mark in marks.items():
            if (mark.number if mark is not None else 0) < due and self._shows(name, backup):
                unsound[name] = f"mark {due} was set there, and is not to be seen"
        for name, why in unsound.items():
            self._told(name, folder, why)
        recorded = self._recorded.get(backup)
        if (seen == due and marks) or recorded is not None or backup in self._on_record:
            return QuarantineReason(why_aside(newest, recorded))
        said = "; ".join(f"{folder} on '{name}': {why}" for name, why in unsound.items())
        return QuarantineReason(said or f"mark {due} of it was set, and is not to be seen", unseen=True)

    def _newest(self, backup: str) -> Iterator[tuple[str, QuarantineMark | StrongroomError | None]]:
        """Yield what each place has; what does not count there is told."""
        for name, place in self._marks(self._pins(backup)).items():
            if isinstance(place, StrongroomError):
                yield name, place
                continue
            try:
                yield name, place.newest(backup)
            except StrongroomError as error:
                yield name, error
            if junk := place.aside.get(f"{QUARANTINE.prefix}{backup}/"):
                self._told(name, f"{QUARANTINE.prefix}{backup}/", junk)

    def _marks(self, pins: frozenset[str]) -> dict[str, _Place]:
        if pins not in self._there:
            with ThreadPoolExecutor(AT_ONCE) as threads:
                listed = threads.map(lambda objects: _list_marks(objects, pins), self._places.values())
                self._there[pins] = dict(zip(self._places, listed, strict=True))
        return self._there[pins]


def _list_marks(objects: Objects, pins: frozenset[str]) -> _Place:
    try:
        return StatementsOn(objects, QUARANTINE, trusted=pins)
    except StrongroomError as error:
        return error
