"""One child process of the cluster: started in a group of its own, ended with all of it."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from workers.child_logs import ChildLog

PR_SET_PDEATHSIG: Final = 1
STEADY_SECONDS: Final = 20.0
"""A process that ran this long is started again at once, as if it had never failed."""


class Child:
    """A process that is to run, and is started again when it exits.

    Args:
        name: what people and logs call it.
        command: program and arguments, without anything secret.
        environment: its whole environment.
        on_orphaned: what the kernel sends it (Linux) should the supervisor die.
        child_log: where its stdout and stderr go; ours if left out.
        inherit: file descriptors that it gets.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        on_orphaned: signal.Signals = signal.SIGKILL,
        child_log: ChildLog | None = None,
        inherit: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.command = list(command)
        self.starts = 0
        self.due = 0.0
        self._environment = dict(environment)
        self._on_orphaned = on_orphaned
        self.child_log = child_log
        self._inherit = tuple(inherit)
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started = 0.0

    @property
    def failures(self) -> int:
        """How often in a row it exited soon after its start."""
        return self._failures

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it. Call from the thread that lives longest: Linux ties its life to that."""
        output = self.child_log.connect() if self.child_log else None
        try:
            self._launch(output)
        finally:
            if output is not None:
                os.close(output)
        self._started = time.monotonic()
        self.starts += 1

    def _launch(self, output: int | None) -> None:
        self._process = subprocess.Popen(
            self.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=self._inherit,
            process_group=0,  # so that Ctrl-C reaches the supervisor alone, which keeps order
            preexec_fn=_before_exec(self._on_orphaned, os.getpid()),  # noqa: PLW1509 - before any thread
        )

    def reap(self) -> int | None:
        """Return its exit status if it is over, having ended what it left behind."""
        if self._process is None or not _has_exited(self._process.pid):
            return None
        self.signal(signal.SIGKILL)  # its group, while its id cannot have been given to another
        status = self._process.wait()
        self._process = None
        if self.child_log is not None:
            self.child_log.close()
        self._schedule()
        return status

    def signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """Signal the process and all it started, or the process alone."""
        if self._process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            if group:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)

    def _schedule(self) -> None:
        steady = time.monotonic() - self._started > STEADY_SECONDS
        self._failures = 0 if steady else self._failures + 1
        self.due = time.monotonic() + backoff(self._failures)


def backoff(failures: int) -> float:
    """Return how many seconds to wait before starting again."""
    return 0.1 if failures <= 1 else min(30.0, 0.25 * 2.0 ** (failures - 1))


def _has_exited(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _before_exec(on_orphaned: signal.Signals, parent: int) -> Callable[[], None]:
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None

    def prepare() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core dump would hold plaintext
        if libc is not None:
            libc.prctl(PR_SET_PDEATHSIG, int(on_orphaned), 0, 0, 0)
            if os.getppid() != parent:  # it died before the line above
                os._exit(1)

    return prepare
