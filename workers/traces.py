"""Handing the trace of a run that has ended to a collector of OpenTelemetry, if one is configured."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from strongroom import __version__
from strongroom.errors import StrongroomError
from strongroom.system.lazy import lazy

if TYPE_CHECKING:
    from strongroom.config import Settings
    from strongroom.state.records import Run
    from strongroom.state.store import RunStore

log = logging.getLogger(__name__)

as_trace = lazy("strongroom.operations.engine.run_log:as_trace")
post = lazy("strongroom.system.program:post")

PATIENCE: Final = 5.0
"""Seconds that a collector may take. A trace is a help, and no run waits longer for it."""


def hand_over(run: Run, store: RunStore, settings: Settings) -> None:
    """Send a run's trace. Whatever keeps it from being taken changes nothing for the run."""
    if settings.traces.url is None:
        return
    try:
        trace = as_trace(run, store.rows(run.id), version=__version__)
        post(settings.traces.url, msgspec.json.encode(trace), timeout=PATIENCE)
    except (StrongroomError, OSError) as error:
        log.warning("trace-not-sent", extra={"run": run.id, "why": type(error).__name__})
