"""Kills the processes of a running cluster as planned, and remembers what it did."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Sequence

from msgspec import Struct

from strongroom.state.records import StepKind
from strongroom.state.store import RunStore
from tests.chaos.frozen import freeze, thaw, working
from tests.chaos.plan import Kill, Phase, Progress, Victim
from tests.workers.cluster import RunningCluster, descendants, is_alive

MAINS = {
    Victim.SEAL: "seal",
    Victim.TRANSFER: "transfer",
    Victim.CONTROL: "control",
    Victim.BEAT: "beat",
    Victim.REDIS: "broker",
}
CHILDREN = {Victim.SEAL_CHILD: "seal", Victim.CONTROL_CHILD: "control"}
IN_THE_MIDDLE_OF = {
    (Victim.SEAL_CHILD, Phase.CAPTURE): StepKind.CAPTURE,
    (Victim.CONTROL_CHILD, Phase.COMMIT): StepKind.COMMIT,
}
"""What a child must be performing to be hit, for certain; in other phases any will do."""


class Killed(Struct, frozen=True, kw_only=True):
    """A kill that happened: when (epoch seconds), and how many processes it took along."""

    kill: Kill
    at: float
    processes: int


class Monkey:
    """Watches one run's record and kills what is due.

    Args:
        kills: what is planned.
        seed: decides between equals.
    """

    def __init__(
        self, kills: Sequence[Kill], cluster: RunningCluster, store: RunStore, run: str, *, seed: int
    ) -> None:
        self.left = list(kills)
        self.killed: list[Killed] = []
        self._cluster = cluster
        self._store = store
        self._run = run
        self._draw = random.Random(seed)

    def act(self, progress: Progress) -> None:
        """Kill what is due now."""
        for kill in [kill for kill in self.left if progress.reached(kill)]:
            if (pid := self._find(kill)) is not None:
                self._kill(kill, pid)

    def _kill(self, kill: Kill, pid: int) -> None:
        took = 1 + len(descendants(pid))
        kind = IN_THE_MIDDLE_OF.get((kill.victim, kill.phase))
        if kind is not None and not freeze(pid, self._store, self._run, kind):
            thaw(pid)  # at the next look
            return
        at = time.time()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it is just being started again: at the next look
        self.left.remove(kill)
        self.killed.append(Killed(kill=kill, at=at, processes=took))

    def _find(self, kill: Kill) -> int | None:
        if kill.victim in MAINS:
            return self._alive(self._cluster.pid(MAINS[kill.victim]))
        main = self._alive(self._cluster.pid(CHILDREN[kill.victim]))
        children = descendants(main) if main else set()
        if (kind := IN_THE_MIDDLE_OF.get((kill.victim, kill.phase))) is not None:
            children &= working(self._store, self._run, kind).keys()
        return self._draw.choice(sorted(children)) if children else None

    def _alive(self, pid: int | None) -> int | None:
        return pid if pid is not None and is_alive(pid) else None
