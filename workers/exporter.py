"""What metrics and the page are gathered from, for one look or for many.

Nothing is counted in the workers. What they do is on record, step by step: read there it is complete for all
hosts and after any kill, and forked processes are no special case. Prometheus' client would have each of them
keep a file of its own that nobody may remove as long as its counts are to stand.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Final

from msgspec import structs

from strongroom import __version__
from strongroom.config import Settings
from strongroom.config.live import LiveSettings
from strongroom.operations.engine.muted import Muted
from strongroom.operations.judge.fact_records import WatchedInstallation
from strongroom.operations.judge.facts import with_look
from strongroom.operations.judge.judgement import judge
from strongroom.operations.judge.metrics import Observed, Process
from strongroom.operations.notify.notify import EDITED, JudgedFacts, gather_and_judge, muted_now
from strongroom.state import engine
from strongroom.state.engine import StateDatabase
from strongroom.state.store import RunStore
from strongroom.wiring import watching
from strongroom.wiring.database import database_url
from workers import status
from workers.beat_fallback import SETTLES
from workers.cluster_facts import cluster_facts

log = logging.getLogger(__name__)

FRESH: Final = 5.0
"""Seconds for which what was read of the record serves: two servers that scrape must not cost twice."""
PROC: Final = Path("/proc")
PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Exporter:
    """Reads the record when it is asked, and looks at the targets when it is told to. Safe to use from
    threads at once."""

    def __init__(self, live: LiveSettings) -> None:
        self._live = live
        self._lock = threading.Lock()
        self._watched: tuple[int, WatchedInstallation] | None = None
        self._read: tuple[float, JudgedFacts] | None = None
        self._looked: JudgedFacts | None = None
        self._muted = Muted()

    def settings(self) -> Settings:
        """Return the settings in force."""
        with self._lock:
            return self._settings()

    def look(self) -> None:
        """Look at the targets and at this host, and judge what is wrong."""
        with self._lock:
            watched, limits = self._watch(), watching.limits(self._settings())
        self._looked = gather_and_judge(watched, limits)

    def keep_looking(self, every: Callable[[Settings], float]) -> None:
        """Have a thread look again and again; for the first time when a cluster that is just starting has had
        its time."""
        threading.Thread(target=self._keep_looking, args=(every,), name="look", daemon=True).start()

    def _keep_looking(self, every: Callable[[Settings], float]) -> None:
        pause = threading.Event()
        pause.wait(min(SETTLES, every(self.settings())))
        while True:
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  # what was seen before stands, with the time of its look
                log.error("look-failed", extra={"why": type(error).__name__})
            pause.wait(every(self.settings()))

    def current(self) -> JudgedFacts:
        """Return what the record has now with what the newest look saw, and what is wrong by both."""
        with self._lock:
            found = self._on_record()
        if self._looked is None:
            return found
        facts = with_look(found.facts, self._looked.facts)
        if self._looked.facts.state == EDITED:  # a look reads more than the record alone is asked for
            facts = structs.replace(facts, state=EDITED)
        return JudgedFacts(facts=facts, limits=found.limits, findings=judge(facts, found.limits))

    def muted(self) -> Muted:
        """Return what people silenced or acknowledged, by the record as it is now."""
        with self._lock:
            self._on_record()
            return self._muted

    @property
    def looked_at(self) -> float | None:
        """When the targets were looked at last."""
        return self._looked.facts.now if self._looked else None

    def observe(self) -> Observed:
        """Return what is known now, and what the newest look found, but for what is silenced: whoever goes by
        metrics wants to hear no more of that than whoever gets a mail."""
        with self._lock:
            settings, found = self._settings(), self._on_record()
            muted = self._muted
        looked = self._looked
        return Observed(
            facts=found.facts,
            limits=found.limits,
            version=__version__,
            look=looked.facts if looked else None,
            alerts=tuple(finding for finding in looked.alerts if not muted.silence_of(finding.key))
            if looked
            else (),
            processes=tuple(_processes(settings.state_dir)),
        )

    def _settings(self) -> Settings:
        self._live.look()
        return self._live.current

    def _on_record(self) -> JudgedFacts:
        now = time.monotonic()
        if self._read is None or now - self._read[0] > FRESH:
            found = gather_and_judge(_quick(self._watch()), watching.limits(self._settings()), look=False)
            self._read = (now, found)
            self._muted = muted_now(self._watch(), found)
        return self._read[1]

    def _watch(self) -> WatchedInstallation:
        """Return what is watched; made once for as long as the settings hold."""
        settings = self._settings()
        if self._watched is None or self._watched[0] != self._live.version:
            cluster = partial(cluster_facts, settings, ask=False)
            watched = replace(watching.watched(settings), store=opener(settings), cluster=cluster)
            self._watched = (self._live.version, watched)
        return self._watched[1]


def _quick(watched: WatchedInstallation) -> WatchedInstallation:
    """Leave out how much was verified: it takes a second for 60,000 containers, and a look has it."""
    verification = watched.verification
    return replace(watched, calendar=tuple(entry for entry in watched.calendar if entry != verification))


def opener(settings: Settings) -> Callable[[], RunStore]:
    """Return what opens the record: whoever only looks makes none."""

    @cache
    def opened() -> RunStore:
        url = database_url(settings)
        engine.require(StateDatabase(url))
        return RunStore(url)

    return opened


# -- the processes of this machine -----------------------------------------------------


def _processes(state_dir: Path) -> Iterator[Process]:
    found = status.read(state_dir)
    memory = _memory_by_group() if found else {}
    for name, process in found.processes.items() if found else ():
        pid = process.pid
        is_up = pid is not None and pid in memory
        yield Process(name=name, is_up=is_up, starts=process.starts, memory=memory.get(pid or -1, 0))


def _memory_by_group() -> dict[int, int]:
    """Return how many bytes the processes of each group have in memory: the supervisor gives each child a
    group of its own, in which its forked workers stay."""
    groups: dict[int, int] = {}
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it ended meanwhile
            # Behind the name, which may hold anything: state, parent, group, and so on.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                groups[int(fields[2])] = groups.get(int(fields[2]), 0) + int(fields[21]) * PAGE
    return groups
