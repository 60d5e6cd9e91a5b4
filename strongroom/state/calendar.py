"""What the record says of the calendar: slots that became runs, and entries that are paused."""

from __future__ import annotations

from collections.abc import Collection

from strongroom.state import pauses, runs, slots
from strongroom.state.engine import Transactions
from strongroom.state.records import Pause, Slot


class Calendar(Transactions):
    """Slots and pauses."""

    def newest_slot(self, name: str) -> float | None:
        """Return when the newest slot claimed under a name was due (epoch seconds)."""
        with self._database.reading() as conn:
            return slots.newest(conn, name)

    def last_claimed(self, entry: str, *, others: Collection[str] = ()) -> Slot | None:
        """Return the newest claimed slot of an entry, or of one of its subjects but for these."""
        with self._database.reading() as conn:
            return slots.last_claimed(conn, entry, others)

    def slot_of(self, run: str) -> str | None:
        """Return the name that a run's slot was claimed under; ``None`` for a run without one."""
        with self._database.reading() as conn:
            return slots.of_run(conn, run)

    def first_run_at(self) -> float | None:
        """Return when the oldest run on record was created: what was due before, nobody missed."""
        with self._database.reading() as conn:
            return runs.first_at(conn)

    def clock(self) -> float:
        """Return the time by the database's clock, which slots go by (epoch seconds)."""
        return self._database.clock()

    def pauses(self) -> list[Pause]:
        """Return the pauses on record, those that have ended by themselves too."""
        with self._database.reading() as conn:
            return pauses.pauses(conn)

    def pause(self, pause: Pause) -> None:
        """Pause an entry, as an event too."""
        with self._database.writing() as conn:
            pauses.put(conn, pause)

    def resume(self, entry: str, *, reason: str, by: str) -> bool:
        """End a pause, as an event too; return whether there was one."""
        with self._database.writing() as conn:
            return pauses.end(conn, entry, reason=reason, by=by)
