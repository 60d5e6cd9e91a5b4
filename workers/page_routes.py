"""Which page shows what: it reads the record, and changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Struct

from strongroom.config import Settings
from strongroom.operations.archive.cases import Incident, incidents_on_record
from strongroom.operations.archive.inventory import LOST, REPAIRED
from strongroom.operations.archive.quarantine import QUARANTINED, RELEASED, on_record
from strongroom.operations.archive.removal import left_unlocked
from strongroom.operations.engine.services import Services
from strongroom.operations.evidence.access_log import FAILED, OPENED, RESTORED
from strongroom.operations.judge import calendar as entry_states
from strongroom.operations.judge.fact_records import pace_of
from strongroom.operations.retention.delete import PRUNED, UNDELETED
from strongroom.operations.rotation.job import rotated_backups
from strongroom.operations.show import acting, frame, overview, single
from strongroom.operations.show.frame import PAGE, PageFacts
from strongroom.operations.show.single import OneBackup
from strongroom.sheet import Sheet
from strongroom.state.errors import RecordRefused, RunNotFound
from strongroom.state.records import ROTATING, CatalogEntry, Event, Run, RunKind
from strongroom.state.store import RunStore
from strongroom.times import as_written
from strongroom.wiring.calendar import calendar
from strongroom.wiring.read_only import looking_services
from workers.exporter import Exporter

ASKED_LASTS: Final = 86_400.0
"""Seconds for which what became of something that was asked for is shown."""
ROTATIONS: Final = 100
"""Of a policy, how many are read for the one that sealed a backup last."""
ABOUT_BACKUPS: Final = (
    LOST, REPAIRED, QUARANTINED, RELEASED, PRUNED, UNDELETED, OPENED, FAILED, RESTORED,
)  # fmt: skip


class NotThere(Exception):
    """There is no such page, backup, run or incident."""


class StillAsked(Exception):
    """What somebody asked for on the page has no answer on record yet."""

    def __init__(self, page: Sheet) -> None:
        super().__init__()
        self.page = page


class Asked(Struct, frozen=True, kw_only=True):
    """What is asked of a page: the name in its path, and what its query says."""

    name: str = ""
    policy: str = ""
    before: str | None = None


Show = Callable[[Asked, PageFacts], bytes]


class Views:
    """Makes the page of each path. Safe to use from threads at once."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter
        self._lock = threading.Lock()
        self._services: tuple[Settings, Services] | None = None
        self.of_path: Mapping[str, Show] = {
            "/": lambda _, facts: overview.overview(facts),
            "/alerts": lambda _, facts: overview.alerts(facts),
            "/coverage": lambda _, facts: overview.coverage(facts),
            "/drills": lambda _, facts: overview.drills(facts),
            "/keys": lambda _, facts: overview.keys(facts),
            "/backups": self._backups,
            "/backups/(.+)": self._backup,
            "/runs": self._runs,
            "/runs/(.+)": self._run,
            "/schedule": self._schedule,
            "/incidents": self._all_incidents,
            "/incidents/(.+)": self._incident,
            "/asked/([0-9a-f-]{36})": self._asked,
        }

    def missing(self, _asked: Asked, _facts: PageFacts) -> bytes:
        """There is nothing else.

        Raises:
            NotThere: always.
        """
        raise NotThere("There is no such page.")

    def services(self) -> Services:
        """Return services for a look, made once for as long as the settings hold."""
        settings = self._exporter.settings()
        with self._lock:
            if self._services is None or self._services[0] is not settings:
                self._services = (settings, looking_services(settings))
            return self._services[1]

    def record(self, kind: str, **detail: Any) -> None:
        """Put on record that something was refused. Raises StateError where this process may not write."""
        self.services().store.event(kind, **detail)

    # -- pages -------------------------------------------------------------------------

    def _backups(self, asked: Asked, facts: PageFacts) -> bytes:
        store = self.services().store
        entries = store.backups(policy=asked.policy or None, limit=PAGE + 1, before=asked.before)
        replicas = store.replicas_of([entry.backup for entry in entries])
        return frame.backups(entries, replicas, facts, policy=asked.policy)

    def _backup(self, asked: Asked, facts: PageFacts) -> bytes:
        store, name = self.services().store, asked.name
        entry = store.backup(name)
        if entry is None:
            raise NotThere("The catalog has no backup of that name.")
        made = _made_by(store, entry)
        sealed = _rotated_by(store, entry) or made
        backup = OneBackup(
            entry=entry,
            replicas=store.replicas(name),
            readers=sealed.readers if sealed else (),
            sealed=sealed,
            made=made,
            quarantine=on_record(store).get(name, ""),
            unlocked=tuple(left_unlocked(store).get(name, {})),
            events=_events(store, entry),
        )
        return single.backup(backup, facts)

    def _run(self, asked: Asked, facts: PageFacts) -> bytes:
        store = self.services().store
        try:
            run = store.load(asked.name)
        except RunNotFound:
            raise NotThere("No run on record has that name.") from None
        return single.run(run, store.rows(run.id), pace_of(run, store, now=facts.facts.now), facts)

    def _runs(self, asked: Asked, facts: PageFacts) -> bytes:
        return frame.runs(self.services().store.runs(PAGE + 1, before=asked.before), facts)

    def _all_incidents(self, _asked: Asked, facts: PageFacts) -> bytes:
        return frame.incidents(self._incidents().values(), facts)

    def _incident(self, asked: Asked, facts: PageFacts) -> bytes:
        incident = self._incidents().get(asked.name)
        if incident is None:
            raise NotThere("No incident on record has that name.")
        return single.incident(incident, facts)

    def _asked(self, asked: Asked, facts: PageFacts) -> bytes:
        since = facts.facts.now - ASKED_LASTS
        events = self.services().store.happened(acting.ASKED, acting.REFUSED, since=since)
        found = next((event for event in events if event.detail.get("request") == asked.name), None)
        if found is None:
            raise StillAsked(acting.waits(asked.name))
        return frame.document(acting.answer(found), facts)

    def _schedule(self, _asked: Asked, facts: PageFacts) -> bytes:
        entries = calendar(self._exporter.settings())
        return frame.schedule(entry_states.overview(self.services(), entries, now=facts.facts.now), facts)

    def _incidents(self) -> dict[str, Incident]:
        services = self.services()
        return incidents_on_record(services.store, trusted=services.signer_fingerprints)


# -- of one backup ---------------------------------------------------------------------


def _rotated_by(store: RunStore, entry: CatalogEntry) -> Run | None:
    """Return the newest rotation that wrapped a backup's keys anew, or that encrypted it from another."""
    for run in store.runs_of(entry.policy, RunKind.ROTATE, limit=ROTATIONS):
        try:
            rows = [row for kind in ROTATING for row in store.rows(run.id, kind)]
            reached = {rotated.new or rotated.backup for rotated in rotated_backups(run, rows).values()}
            if entry.backup in reached:
                return run
        except RecordRefused:  # an odd row must not keep a person from seeing the others
            continue
    return None


def _made_by(store: RunStore, entry: CatalogEntry) -> Run | None:
    """Return the run that made a backup: there is none of what a rotation encrypted anew."""
    try:
        return store.load(entry.backup)
    except RunNotFound:
        return None


def _events(store: RunStore, entry: CatalogEntry) -> list[Event]:
    """Return what happened to a backup since it was made, in order."""
    made = as_written(entry.created_at)
    since = store.happened(*ABOUT_BACKUPS, since=made.timestamp() if made else 0.0)
    own = store.events(run=entry.backup)
    mine = {event.id: event for event in since if event.detail.get("backup") == entry.backup}
    return sorted({**mine, **{event.id: event for event in own}}.values(), key=lambda event: event.id)
