"""Lets days go by: ``python calendar_days.py START NIGHTS``; the nights' command lines are JSON on stdin.

A process of its own whose clock, and with it that of its SQLite, stands at START (seconds since the epoch)
and is put forward from one due time of the product's own schedule to the next. What is due is asked of the
product (``open_due``), as beat's tick asks, and driven to its end by the product's driver. No faketime is
needed: everything that asks Python or SQLite for the time here gets that of the simulated day.
"""

from __future__ import annotations

import datetime as dt
import json
import sqlite3
import sys
import time
from datetime import datetime
from typing import Any

_real_time, _real_connect = time.time, sqlite3.connect
_ahead = 0.0


def _now() -> float:
    return _real_time() + _ahead


def put_to(moment: float) -> None:
    global _ahead  # noqa: PLW0603 - the clock of this process
    _ahead = moment - _real_time()


class _Known(type):
    """Dates of the real class are dates, so that nobody notices."""

    def __instancecheck__(cls, found: object) -> bool:
        return isinstance(found, datetime)


class _Date(datetime, metaclass=_Known):
    """``datetime``, whose ``now`` is this process's."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> Any:
        return datetime.fromtimestamp(_now(), tz)


def _connect(*words: Any, **options: Any) -> sqlite3.Connection:
    """Open a database whose clock is this process's: the product asks for ``julianday('now')``."""
    connection: sqlite3.Connection = _real_connect(*words, **options)
    connection.create_function("julianday", 1, lambda _: _now() / 86_400 + 2_440_587.5)
    return connection


def set_clock() -> None:
    """Before anything of the product is imported."""
    time.time = _now
    dt.datetime = _Date  # type: ignore[misc]
    sqlite3.connect = _connect  # type: ignore[assignment]


def _due_times(schedules: list[str], start: float, nights: int) -> list[float]:
    from cronsim import CronSim

    begin = datetime.fromtimestamp(start, dt.UTC)
    end = begin + dt.timedelta(days=nights)
    found = set()
    for schedule in schedules:
        times = CronSim(schedule, begin)
        while (moment := next(times)) < end:
            found.add(moment.timestamp())
    return sorted(found)


def main(start: float, nights: int, changes: list[list[list[str]]]) -> dict[str, Any]:
    """Live through some nights; return what each run came to."""
    from strongroom.cli.main import main as command
    from strongroom.cli.shared.services import open_services
    from strongroom.config import load_settings
    from strongroom.operations.engine.drive import drive
    from strongroom.operations.engine.submit import open_due
    from strongroom.state.records import RunKind
    from strongroom.wiring.calendar import calendar

    due = [entry for entry in calendar(load_settings()) if entry.kind is RunKind.BACKUP]
    runs = []
    done = 0
    for moment in _due_times([entry.schedule for entry in due], start, nights):
        put_to(moment + 10)
        night = int((moment - start) // 86_400) + 1
        for words in (words for day in changes[done:night] for words in day):
            assert command(words) == 0, words
        done = night
        built = open_services()
        for ticket in open_due(built, due):
            run = drive(ticket.run, [ticket], built, processes=1)
            runs.append((run.id, run.spec.policy, run.state.value))
    return {"runs": runs}


if __name__ == "__main__":
    set_clock()
    put_to(float(sys.argv[1]))
    answer = main(float(sys.argv[1]), int(sys.argv[2]), json.load(sys.stdin))
    sys.stdout.write(json.dumps(answer))
