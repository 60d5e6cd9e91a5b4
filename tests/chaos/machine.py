"""A machine with a running cluster: asked for a backup, and watched until it has made one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from msgspec import Struct

from strongroom.model import Secret
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run
from strongroom.state.store import RunStore
from tests.chaos.place import POLICY, Place, made_up, make_place
from tests.chaos.plan import Progress
from tests.patience import PATIENCE, until
from tests.workers.cluster import RunningCluster

POOLS = ("control", "seal", "transfer", "verify")
GUARD_SECONDS = 900.0
"""A hang guard: ten times what a run takes on a loaded machine."""
_SUBMIT = f"from tasks.backup import full_backup; print(full_backup.delay(policy={POLICY!r}).id)"


class Machine(Struct, frozen=True, kw_only=True):
    """A running cluster, what it was given, and its run records."""

    place: Place
    secrets: list[Secret]
    cluster: RunningCluster
    store: RunStore

    def submit(self) -> str:
        """Ask for a backup as a person does in a plain shell; return the run's id."""
        told = subprocess.run(
            [sys.executable, "-c", _SUBMIT],
            env={**os.environ, **self.place.environment},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        )
        return until(lambda: self._known(told.stdout.strip()), what="the run").id

    def _known(self, request: str) -> Run | None:
        try:
            return self.store.find(request)
        except RunNotFound:
            return None

    def follow(
        self,
        run: str,
        act: Callable[[Progress], object],
        *,
        pause: Callable[[Progress | None], float] = lambda _: 0.02,
    ) -> Run:
        """Look at the run record again and again, and act on it, until the run ends.

        Args:
            pause: how long to look away, in seconds.
        """
        end = time.monotonic() + GUARD_SECONDS
        while not (record := self.store.load(run)).state.final and time.monotonic() < end:
            progress = None
            if "plan" in record.facts:
                progress = Progress.of(self.store.tally(run), record.facts["plan"]["pieces"])
                act(progress)
            time.sleep(pause(progress))
        return record


@contextmanager
def machine(root: Path, *, containers: int, seed: int, database: str | None = None) -> Iterator[Machine]:
    """Make a machine under ``root`` and start its cluster; leave no process."""
    secrets = made_up(containers, seed)
    place = make_place(root, secrets, database=database)
    cluster = RunningCluster(place.state, *POOLS, environment=place.environment)
    with ExitStack() as undo:
        store = undo.enter_context(closing(RunStore(place.database)))
        undo.callback(cluster.close)
        cluster.start()
        yield Machine(place=place, secrets=secrets, cluster=cluster, store=store)
