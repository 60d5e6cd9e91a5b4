"""The calendar's entries: what is due again and again, and who is told that it was done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.operations.errors import ChannelRefused, ChannelUnavailable
from strongroom.schedule import last_slot, next_slot
from strongroom.state.records import RunKind
from strongroom.system.errors import NotTaken
from strongroom.system.program import TEXT, post

# -- Telling a dead man's switch that something begins, went well or failed. When nothing comes, it raises
# the alarm: it is the one that hears of a host that is gone
#
# Addresses are those of Healthchecks: ``URL`` for success, ``URL/start`` and ``URL/fail`` for the others.


LONGEST = 10_000
"""Bytes of what is said with a ping: services keep as much."""


class Signal(StrEnum):
    """What a ping says: what stands behind the address."""

    START = "start"
    SUCCESS = ""
    FAILURE = "fail"


class Ping(Struct, frozen=True, kw_only=True):
    """A switch. ``url`` reads its address when it is needed; ``warnings``: they too make a look fail."""

    name: str
    url: Callable[[], str]
    timeout: float = 10.0
    ca_file: Path | None = None
    warnings: bool = False

    def send(self, signal: Signal, words: str = "") -> None:
        """Send a ping, with a few words for people.

        Raises:
            ChannelUnavailable: the switch did not take it in time. It raises an alarm by itself then.
            ChannelRefused: it said no.
            ConfigError: the file with its address is missing, or open to others.
        """
        body = words.encode("utf-8", "replace")[:LONGEST]
        try:
            post(
                _address(self.url(), signal),
                body,
                timeout=self.timeout,
                content_type=TEXT,
                ca_file=self.ca_file,
            )
        except NotTaken as error:
            kind = ChannelRefused if error.lasting else ChannelUnavailable
            raise kind(f"Channel '{self.name}' {error.message}.") from None


def _address(url: str, signal: Signal) -> str:
    path, mark, query = url.strip().partition("?")
    return f"{path.rstrip('/')}/{signal}{mark}{query}" if signal else url.strip()


# -- The calendar's entries: what is due again and again, when, and why -------------------------


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
