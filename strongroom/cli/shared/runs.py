"""Waiting for the end of a run, whether a cluster drives it or a process."""

from __future__ import annotations

import time

from strongroom.cli.shared.follow_run import showing_progress
from strongroom.cli.shared.render_run import waiting_of, waits_for_people
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.output import Output
from strongroom.cli.terminal.stopping import leaving
from strongroom.config import Settings, load_settings
from strongroom.operations import recorded_errors
from strongroom.operations.runs.abandoned import is_abandoned
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, StepKind
from strongroom.state.store import RunStore
from workers.status import read

_POLL_SECONDS = 0.25
_LOOK_SECONDS = 3.0
_GOES_ON = (
    "nobody looks at run {run} any more, and it goes on. To look again: 'strongroom runs show {run} "
    "--follow'. "
    "To end it: 'strongroom runs cancel {run}'."
)


def follow(output: Output, name: str, *, patience: float = 15.0) -> Run:
    """Wait for a run's end, showing how far it is; one just submitted may still be queued, and one that
    nobody works on has no end to wait for.

    Args:
        patience: how many seconds to wait for the run to come into being.
    """
    store = run_store()
    run = _begun(store, name, patience)
    waits = WaitReporter(output, store)
    with leaving(_GOES_ON.format(run=run.id)), showing_progress(output, store) as watch:
        while not run.state.final and (cluster_runs(load_settings()) or not nobody_drives(run, store)):
            if watch is not None:
                watch(run.id)
            waits.tell(run)
            time.sleep(_POLL_SECONDS)  # the database announces nothing
            run = store.load(run.id)
    return run


class WaitReporter:
    """Says what a run waits for, approvals, room, or a place that does not answer, and what it tries again.
    Each thing once."""

    def __init__(self, output: Output, store: RunStore) -> None:
        self._output = output
        self._store = store
        self._said: set[str] = set()
        self._look_at = 0.0

    def tell(self, run: Run) -> None:
        needed = waits_for_people(self._store.rows(run.id, StepKind.APPROVE))
        if needed is not None:
            self._say(needed.message, f"Run {run.id} waits: {needed.message} {needed.hint}")
        elif time.monotonic() >= self._look_at:  # all rows of a large run are many to read so often
            self._look_at = time.monotonic() + _LOOK_SECONDS
            rows = self._store.rows(run.id)
            if waiting := waiting_of(rows):
                words = f"Run {run.id} waits ({waiting['step']}): {waiting['error']}. {waiting['to_do']}"
                self._say(waiting["error"], words.rstrip())
            for row in rows:
                if row.error and not row.waits_since and not row.state.settled:
                    happened, to_do = recorded_errors.apart(row.error)
                    self._say(
                        happened, f"Run {run.id} tries again ({row.step}): {happened}. {to_do}".rstrip()
                    )

    def _say(self, what: str, words: str) -> None:
        if what not in self._said:
            self._said.add(what)
            self._output.note(words)


def _begun(store: RunStore, name: str, patience: float) -> Run:
    until = time.monotonic() + patience
    while True:
        try:
            return store.find(name)
        except RunNotFound:
            if time.monotonic() > until:
                raise
        time.sleep(_POLL_SECONDS)


def nobody_drives(run: Run, store: RunStore) -> bool:
    """Tell whether the process that drove a run is gone, and the run has not ended."""
    return not run.state.final and is_abandoned(run, store, load_settings().state_dir)


def cluster_runs(settings: Settings) -> bool:
    """Tell whether a cluster would take up what is due: one is configured, or runs here."""
    return bool(settings.broker.url) or read(settings.state_dir) is not None
