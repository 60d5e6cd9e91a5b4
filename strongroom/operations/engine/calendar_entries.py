"""The calendar's entries: what is due again and again, when, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from strongroom.operations.ping import Ping
from strongroom.schedule import last_slot, next_slot
from strongroom.state.records import RunKind

YEAR = 365 * 86_400.0


class Scheduled(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: a run of a job at the times of a cron expression (five fields), in a time zone (IANA).

    Its slots are claimed under ``name``. What is run is up to the job of its ``kind``
    (``Job.scheduled_spec``), which reads ``policy`` and ``options``. The slots of an ``offline`` policy wait
    until its media are brought. ``reason`` says why the entry is there, and ``needs`` what it lacks or who
    switched it off: with one, nothing is run.
    """

    name: str
    kind: RunKind
    schedule: str
    time_zone: str = "UTC"
    policy: str = ""
    options: Mapping[str, Any] = {}
    offline: bool = False
    reason: str = ""
    needs: str = ""

    def last(self, now: float) -> float | None:
        """Return the newest slot (epoch seconds) that is not after ``now``."""
        return last_slot(self.schedule, now, self.time_zone)

    def next(self, after: float) -> float | None:
        """Return the first slot after a moment."""
        return next_slot(self.schedule, after, self.time_zone)

    def interval(self, slot: float) -> float:
        """Return how many seconds lie between a slot and the one after it; a year if there is none."""
        return (self.next(slot) or slot + YEAR) - slot

    def belongs_to(self, name: str) -> bool:
        """Tell whether it is the entry of that name, or one for a subject of it."""
        return self.name == name or self.name.startswith(f"{name} ")

    def about(self, subject: str, **changes: Any) -> Scheduled:
        """Return the entry for one of several subjects, each with slots of its own."""
        return msgspec.structs.replace(self, name=f"{self.name} {subject}", **changes)


class Hook(msgspec.Struct, frozen=True, kw_only=True):
    """What is called: a command (a program and its arguments), or the address that ``url`` gives."""

    command: tuple[str, ...] = ()
    url: Callable[[], str] | None = None
    timeout: float = 60.0


class Hooks(msgspec.Struct, frozen=True, kw_only=True):
    """What is called before a run, after a good one, and after one that failed or was cancelled.

    ``ping`` is told of its start and of either end.
    """

    before: Hook | None = None
    after: Hook | None = None
    on_error: Hook | None = None
    ping: Ping | None = None
