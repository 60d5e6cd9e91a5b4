"""The processes of a cluster forked from its supervisor, which has imported what they need.

Each has the arguments, environment, streams and group that a start would give it. What it does not do again
is a second of imports, seven times for each cluster. Of a start itself, its environment in /proc and its
command line, this shows nothing: where those are the point, :class:`RunningCluster` starts processes.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from workers import process

HEAVY = (
    "billiard.popen_fork",
    "celery.app.amqp",
    "celery.app.log",
    "celery.apps.beat",
    "celery.apps.worker",
    "celery.bin.celery",
    "celery.concurrency.asynpool",
    "celery.concurrency.prefork",
    "celery.contrib.abortable",
    "celery.worker.loops",
    "celery.worker.request",
    "celery.worker.worker",
    "flower.command",
    "kombu.transport.redis",
    "sqlalchemy.dialects.sqlite",
    "strongroom.operations.judge.freshness",
    "strongroom.wiring.services",
    "workers.telemetry",
    "workers.transport",
)
"""What takes long to import, and reads neither environment nor configuration as it is imported."""

PYTHON = [sys.executable, "-P", "-m", "workers"]


def prepare() -> None:
    """Import it, and have the supervisor fork its processes."""
    for module in HEAVY:
        importlib.import_module(module)
    assert "workers.app" not in sys.modules, "it reads the environment and the configuration"
    gc.collect()
    gc.freeze()
    process.subprocess.Popen = _start  # type: ignore[assignment]


_popen = subprocess.Popen


def _start(command: Sequence[str], **options: Any) -> Any:
    return Forked(command, **options) if list(command[:4]) == PYTHON else _popen(command, **options)


class Forked:
    """What the supervisor uses of a process."""

    def __init__(self, command: Sequence[str], **options: Any) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        if not (pid := os.fork()):
            try:
                _become(command, **options)
            finally:
                os._exit(70)
        self.pid = pid

    def wait(self) -> int:
        """Return how it ended, as :mod:`subprocess` tells it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _become(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    stdout: int | None,
    stderr: int | None,
    pass_fds: Sequence[int],
    preexec_fn: Any,
    **_: Any,
) -> None:
    os.setpgid(0, 0)
    preexec_fn()
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, given in enumerate((os.open(os.devnull, os.O_RDONLY), stdout, stderr)):
        if given is not None:
            os.dup2(given, number)
    for low, high in zip((2, *sorted(pass_fds)), (*sorted(pass_fds), os.sysconf("SC_OPEN_MAX")), strict=True):
        os.closerange(low + 1, high)
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None
    sys.argv[:] = ["workers", *command[4:]]
    code: Any = 0
    try:
        runpy.run_module("workers", run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        code = ending.code or 0
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else 1)


if __name__ == "__main__":  # the command line, whose 'up' forks
    sys.path.pop(0)
    prepare()
    from strongroom.cli.main import main

    sys.exit(main())
