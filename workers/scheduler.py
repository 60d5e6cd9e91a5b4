"""A beat that keeps no schedule file: what is due is decided by slots in the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from celery.beat import Scheduler
from celery.schedules import schedule as Every  # noqa: N812 - a class in lower case

LONG_AGO: Final = datetime(2000, 1, 1, tzinfo=UTC)


class MemoryScheduler(Scheduler):  # type: ignore[misc]
    """Starts afresh each time, sending the periodic checks at once.

    So what came due while no beat ran is opened within moments of a restart.
    """

    def __init__(self, *args: Any, schedule_filename: str = "", **kwargs: Any) -> None:  # noqa: ARG002
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        """Take the entries from the configuration; mark the interval ones as due."""
        super().setup_schedule()
        for entry in self.schedule.values():
            if isinstance(entry.schedule, Every):
                entry.last_run_at = LONG_AGO
