"""What happened, which processes are alive, and who was told of an alert."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import merge
from typing import Any

from strongroom.state import alerts, events, leases
from strongroom.state.alerts import NotifiedAlert
from strongroom.state.engine import Transactions
from strongroom.state.records import ChainedEvent, Event


class EventLog(Transactions):
    """Events, heartbeats, and which audience was notified of which alert."""

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        """Append an event. ``detail`` is small, JSON-able and free of secrets and names."""
        with self._database.writing() as conn:
            events.append(conn, kind, run, detail)

    def append(self, entries: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
        """Append several events together, each a kind and its detail: all of them or none."""
        with self._database.writing() as conn:
            for kind, detail in entries:
                events.append(conn, kind, None, detail)

    def events(
        self, *, run: str | None = None, kind: str | None = None, after: int = 0, limit: int = 1000
    ) -> list[Event]:
        """Return events in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return events.recorded(conn, run=run, kind=kind, after=after, limit=limit)

    def each_event(self, *kinds: str) -> Iterator[Event]:
        """Yield every event of some kinds, in order, a page of each at a time."""
        yield from merge(*map(self._each, kinds), key=lambda event: event.id)

    def _each(self, kind: str) -> Iterator[Event]:
        after = 0
        while page := self.events(kind=kind, after=after):
            yield from page
            after = page[-1].id

    def links(self, *, after: int = 0, limit: int = 1000) -> list[ChainedEvent]:
        """Return events as they are chained, in order, those with an id above ``after``."""
        with self._database.reading() as conn:
            return events.links(conn, after=after, limit=limit)

    def newest_link(self) -> ChainedEvent | None:
        """Return the newest event as it is chained; ``None`` if nothing has happened yet."""
        with self._database.reading() as conn:
            return events.newest_link(conn)

    def run_without_event(self) -> str | None:
        """Return a run that is on record though no event tells of it: those were removed."""
        with self._database.reading() as conn:
            return events.run_without(conn)

    def happened(self, *kinds: str, since: float) -> list[Event]:
        """Return the events of some kinds from a time (epoch seconds) on, oldest first."""
        with self._database.reading() as conn:
            return events.since(conn, since, kinds)

    def heartbeat(self, name: str) -> None:
        """Note that a process, such as ``beat``, is alive."""
        with self._database.writing() as conn:
            events.beat(conn, name)

    def take_turn(self, name: str, *, every: float) -> bool:
        """Note that ``name`` is alive if it was not for ``every`` seconds, and tell whether that was so.

        Of all that ask at once, one gets the turn.
        """
        with self._database.writing() as conn:
            return events.take_turn(conn, name, every)

    def heartbeats(self) -> dict[str, float]:
        """Return for each name how many seconds ago it was alive."""
        with self._database.reading() as conn:
            return events.ages(conn)

    def take_lease(self, name: str, owner: str, *, seconds: float) -> str:
        """Take a lease, or renew it, unless another renewed it within so many seconds.

        Returns:
            who has it now: ``owner``, or the other.
        """
        with self._database.writing() as conn:
            return leases.take(conn, name, owner, seconds)

    def release_lease(self, name: str, owner: str) -> None:
        """Give a lease back, if this owner has it."""
        with self._database.writing() as conn:
            leases.release(conn, name, owner)

    def told(self, audience: str) -> list[NotifiedAlert]:
        """Return the alerts that an audience was told of, by key."""
        with self._database.reading() as conn:
            return alerts.alerts_told(conn, audience)

    def told_of(self, key: str) -> list[NotifiedAlert]:
        """Return what each audience was told of an alert that is not over."""
        with self._database.reading() as conn:
            return alerts.told_of(conn, key)

    def put_told(self, audience: str, rows: Sequence[NotifiedAlert], *, forget: float) -> None:
        """Record what an audience was told; forget what has been over since before ``forget``."""
        with self._database.writing() as conn:
            alerts.put(conn, audience, rows)
            alerts.forget(conn, audience, forget)
