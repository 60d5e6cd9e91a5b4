"""How a cluster stands: its processes on this machine, its broker, and which workers answer."""

from __future__ import annotations

import os
import socket

from msgspec.structs import replace

from strongroom.config import Settings
from strongroom.errors import StrongroomError
from strongroom.operations.judge.fact_records import ClusterFacts
from workers import status
from workers.errors import BrokerUnavailable
from workers.names import SUBMIT
from workers.paths import role_keys
from workers.pools import POOLS
from workers.status import Status

PATIENCE, LONGER = 2.0, 5.0
"""Seconds in which a worker answers a ping; whoever is silent is asked once more, for longer."""


def cluster_facts(settings: Settings, *, ask: bool = True) -> ClusterFacts:
    """Look at the cluster that is configured or runs here.

    Args:
        ask: ask the broker and its workers, too. Whoever is no command has no key for that.
    """
    running = status.read(settings.state_dir)
    if running is None and not settings.broker.url:
        return ClusterFacts(runs=False)
    facts = _processes(running) if running is not None else ClusterFacts(runs=True)
    if not ask:
        return facts
    from workers import broker  # with the clients of Redis: whoever has no cluster waits for none of it

    facts = replace(facts, broker=str(settings.broker.url or "the embedded broker"))
    try:
        broker.check(broker.broker_url(settings), tls=broker.tls_options(settings.broker))
        if not (role_keys(settings.state_dir) / f"{SUBMIT}.key").exists():
            words = f"this machine has no key of the role '{SUBMIT}', so no worker would answer it"
            return replace(facts, unasked=words)
        answered = _answered(settings, PATIENCE)
        if _silent(answered):
            answered |= _answered(settings, LONGER)
    except StrongroomError as error:
        mend = "" if error.hint == BrokerUnavailable.default_hint else error.hint
        return replace(facts, away=error.message, mend=mend)
    return replace(facts, answered=tuple(sorted(answered)), silent=_silent(answered))


def _processes(running: Status) -> ClusterFacts:
    processes = running.processes
    down = (name for name, process in processes.items() if process.pid is None or not _is_alive(process.pid))
    return ClusterFacts(
        runs=True,
        host=socket.gethostname(),
        killed=not _is_alive(running.supervisor),
        down=tuple(down),
        again=tuple(name for name, process in processes.items() if process.starts > 1),
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _silent(answered: set[str]) -> tuple[str, ...]:
    return tuple(pool.role for pool in POOLS.values() if pool.always and pool.role not in answered)


def _answered(settings: Settings, patience: float) -> set[str]:
    """Return the pools of which a worker answers a signed ping. Raises BrokerUnavailable."""
    from workers import broker
    from workers.app import app

    with broker.failing_fast(broker.broker_url(settings), tls=broker.tls_options(settings.broker)):
        answers = app.control.inspect(timeout=patience).ping() or {}
    return {str(name).partition("@")[0] for name in answers}
