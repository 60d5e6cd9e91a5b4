"""Waiting for the end of a run, whether a cluster drives it or a process."""

from __future__ import annotations

import time

from strongroom.cli.shared.follow_run import showing_progress
from strongroom.cli.shared.render_run import waits_for_people
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.output import Output
from strongroom.config import Settings, load_settings
from strongroom.operations.runs.abandoned import is_abandoned
from strongroom.state.errors import RunNotFound
from strongroom.state.records import Run, StepKind
from strongroom.state.store import RunStore
from workers.status import read

_POLL_SECONDS = 0.25


def follow(output: Output, name: str, *, patience: float = 15.0) -> Run:
    """Wait for a run's end, showing how far it is; one just submitted may still be queued, and one that
    nobody works on has no end to wait for.

    Args:
        patience: how many seconds to wait for the run to come into being.
    """
    store = run_store()
    run = _begun(store, name, patience)
    told = False
    with showing_progress(output, store) as watch:
        while not run.state.final and (cluster_runs(load_settings()) or not nobody_drives(run, store)):
            if watch is not None:
                watch(run.id)
            told = told or _tell_waiting(output, store, run)
            time.sleep(_POLL_SECONDS)  # the database announces nothing
            run = store.load(run.id)
    return run


def _tell_waiting(output: Output, store: RunStore, run: Run) -> bool:
    """Say, once, what people have to approve before a run goes on; tell whether that was said."""
    needed = waits_for_people(store.rows(run.id, StepKind.APPROVE))
    if needed is not None:
        output.note(f"Run {run.id} waits: {needed.message} {needed.hint}")
    return needed is not None


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
