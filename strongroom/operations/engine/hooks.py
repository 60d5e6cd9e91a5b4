"""What is called before a run, after it, and when it failed: a program or a URL that somebody configured.

What is called comes from this process's own configuration, and from no row of the database. It is told of the
run and gets nothing else: no descriptor, no secret of the environment, no name of a secret.
"""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import Final

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.operations.engine import noted, run_log
from strongroom.operations.engine.calendar_entries import Hooks, Ping, Signal
from strongroom.operations.engine.jobs import Ending, job_of
from strongroom.operations.engine.services import Services
from strongroom.state.records import Run, RunState, RunStep, Spec, StepKind
from strongroom.system.lazy import lazy
from strongroom.times import rfc3339

log = logging.getLogger(__name__)

FAILED: Final = "hook.failed"
GOOD: Final = (RunState.DONE, RunState.DEGRADED)

call = lazy("strongroom.operations.engine.hook_calls:call")


class Called(Struct, frozen=True, kw_only=True):
    """That a hook was called. ``when`` is empty if there was none."""

    when: str = ""


def first_step(services: Services, spec: Spec, slot: str = "") -> RunStep:
    """Return the first step of a run: the hook before it, if it has one."""
    job = job_of(spec.kind)
    hooks = services.hooks.get(job.entry_name(spec, slot), Hooks())
    return job.first if hooks.before is None and hooks.ping is None else RunStep(StepKind.HOOK)


def call_before(run: Run, step: RunStep, services: Services) -> Called:
    """Call what has to succeed before the run begins. Raises HookFailed."""
    name, hooks = _hooks_of(run, services)
    if hooks.ping is not None:
        _ping(hooks.ping, Signal.START, _words(run), services)
    if hooks.before is None:  # it was configured when the run was created, and is not now
        return Called()
    call(hooks.before, _facts("before", name, run), f"the hook before '{name}'")
    return Called(when="before")


def call_after(run: Run, ending: Ending, services: Services) -> None:
    """Call what is told how a run ended. That it failed is recorded, and changes nothing for the run."""
    name, hooks = _hooks_of(run, services)
    good = ending.state in GOOD
    if hooks.ping is not None:
        _ping(hooks.ping, Signal.SUCCESS if good else Signal.FAILURE, _words(run, ending), services)
    when, hook = ("after", hooks.after) if good else ("on_error", hooks.on_error)
    if hook is None:
        return
    try:
        call(hook, _facts(when, name, run, ending), f"the hook {when} of '{name}'")
    except StrongroomError as error:
        log.warning("hook-failed", extra={"run": run.id, "entry": name, "when": when, "why": error.code})
        services.store.event(FAILED, run.id, entry=name, when=when, error=f"{error.code}: {error.message}")


def _ping(ping: Ping, signal: Signal, words: str, services: Services) -> None:
    """Send a ping. That it was not taken keeps no run back: the alert ``channel.failed`` says so."""
    error: StrongroomError | None = None
    try:
        ping.send(signal, words)
    except StrongroomError as failure:
        error = failure
        log.warning("ping-failed", extra={"channel": ping.name, "why": failure.code})
    with suppress(StrongroomError):
        noted.record_channel(services.store, {ping.name: error}, now=time.time())


def _words(run: Run, ending: Ending | None = None) -> str:
    error = run_log.parse_error(ending.error) if ending else None
    state = ending.state.value if ending else "started"
    return f"run {run.id} of policy '{run.spec.policy}': {state}{f' ({error.code})' if error else ''}"


def _hooks_of(run: Run, services: Services) -> tuple[str, Hooks]:
    """Return the entry that a run is of, and its hooks. Most configurations have none, and ask nothing."""
    if not services.hooks:
        return "", Hooks()
    name = job_of(run.spec.kind).entry_name(run.spec, services.store.slot_of(run.id) or "")
    return name, services.hooks.get(name, Hooks())


def _facts(when: str, name: str, run: Run, ending: Ending | None = None) -> dict[str, str]:
    error = run_log.parse_error(ending.error) if ending else None
    return {
        "when": when,
        "entry": name,
        "kind": run.spec.kind.value,
        "run": run.id,
        "state": ending.state.value if ending else run.state.value,
        "began": rfc3339(run.created_at),
        "error": error.code if error else "",
        "family": error.family if error else "",
    }
