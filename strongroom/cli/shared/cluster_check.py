"""Whether broker and workers answer, if a cluster is configured or runs here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial

from strongroom.cli.shared.runs import cluster_runs
from strongroom.config import Settings
from strongroom.operations.engine.findings import Finding, good, remark, unknown, wrong
from strongroom.operations.judge.inspection import KeyMetrics
from strongroom.wiring import health_areas
from workers import broker
from workers.errors import BrokerUnavailable
from workers.names import SUBMIT
from workers.paths import role_keys
from workers.pools import POOLS
from workers.status import read

BROKER, WORKERS = "broker", "workers"
PATIENCE = 2.0
"""Seconds in which a worker answers a ping."""
_START = "Start it: 'strongroom up', or its service. Runs go on where they stopped."


def cluster(settings: Settings) -> Iterator[Finding]:
    """Say how the cluster stands. Without one there is nothing to be wrong."""
    if not cluster_runs(settings):
        yield good(BROKER, "no cluster is configured or runs here: backups are driven by command lines")
        return
    yield from _processes(settings)
    try:
        broker.check(broker.broker_url(settings), tls=broker.tls_options(settings.broker))
    except BrokerUnavailable as error:
        yield wrong(BROKER, error)
        return
    yield good(BROKER, f"{settings.broker.url or 'the embedded one'} answers")
    yield from _workers(settings)


def _processes(settings: Settings) -> Iterator[Finding]:
    """Look at the processes of a cluster that runs on this machine."""
    status = read(settings.state_dir)
    if status is None:
        return
    if not _alive(status.supervisor):
        words = "the cluster of this machine was killed: its supervisor is gone"
        yield wrong(WORKERS, BrokerUnavailable(words, hint=_START))
        return
    down = [
        name for name, process in status.processes.items() if process.pid is None or not _alive(process.pid)
    ]
    again = [name for name, process in status.processes.items() if process.starts > 1]
    if down:
        words = f"not running: {', '.join(down)}"
        yield wrong(WORKERS, BrokerUnavailable(words, hint="Its supervisor starts it again; see its log."))
    if again:
        yield remark(WORKERS, f"started again since the cluster is up: {', '.join(again)}", "See their logs.")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _workers(settings: Settings) -> Iterator[Finding]:
    """Ask every worker that the broker reaches; a queue without one is waited on for ever."""
    if not (role_keys(settings.state_dir) / f"{SUBMIT}.key").exists():
        words = f"this machine has no key of the role '{SUBMIT}', so no worker would answer it"
        yield unknown(WORKERS, BrokerUnavailable(words, hint="Look where the cluster's keys are."))
        return
    answered = _answered(settings)
    silent = [pool.role for pool in POOLS.values() if pool.always and pool.role not in answered]
    if silent:
        words = f"no worker answers for {', '.join(silent)}: what is on these queues waits"
        yield wrong(WORKERS, BrokerUnavailable(words, hint=_START))
    else:
        yield good(WORKERS, f"answer: {', '.join(sorted(answered))}")


def _answered(settings: Settings) -> set[str]:
    """Return the pools of which a worker answers a signed ping. Raises BrokerUnavailable."""
    from workers.app import app

    with broker.failing_fast(broker.broker_url(settings), tls=broker.tls_options(settings.broker)):
        answers = app.control.inspect(timeout=PATIENCE).ping() or {}
    return {str(name).partition("@")[0] for name in answers}


# -- The areas of an installation, with the broker and its workers, which only the command line looks at


def check_areas(settings: Settings, *, days: int, now: float) -> tuple[list[Finding], KeyMetrics | None]:
    """Look at every area; the metrics are missing where the record cannot be read."""
    broker = (BROKER, partial(cluster, settings))
    return health_areas.check_areas(settings, days=days, now=now, besides=[broker])
