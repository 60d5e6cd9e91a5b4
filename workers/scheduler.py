"""A beat that keeps no schedule file: what is due is decided by slots in the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from celery.beat import Scheduler
from celery.schedules import schedule as Every  # noqa: N812 - a class in lower case

from workers import names

LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)
SETTLES: Final = timedelta(minutes=2)


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Starts afresh each time, sending the periodic checks at once.

    So what came due while no beat ran is opened within moments of a restart.
    """

    def __init__(self, *args: Any, schedule_filename: str = "", **kwargs: Any) -> None:  # noqa: ARG002
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Take the entries from the configuration; mark the interval ones as due.

        The look for alerts waits until what came due meanwhile is begun: else each new start is an alarm.
        """
        super().setup_schedule()
        for entry in self.schedule.values():
            if isinstance(entry.schedule, Every):
                settles = SETTLES - entry.schedule.run_every if entry.task == names.ALERTS else None
                entry.last_run_at = LONG_AGO if settles is None else self.app.now() + settles
