"""Starts a cluster as a person would, watches its processes, and ends all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from tests.process import free_port
from workers import status

PATIENCE = 60.0
T = TypeVar("T")


def until(condition: Callable[[], T | None], *, what: str, seconds: float = PATIENCE) -> T:
    """Return what ``condition`` gives once it is true; a hang guard, not a measurement."""
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def descendants(pid: int) -> set[int]:
    """Return the process ids of all that a process started, and theirs."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                parents[int(entry.name)] = int(fields[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def is_alive(pid: int) -> bool:
    """Tell whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class RunningCluster:
    """One supervisor process and its state directory.

    Args:
        state_dir: its state.
        arguments: pools to run (all, if none is named), ``--flower``, ``--metrics``,
            ``--page``, ``--ephemeral``; and ``--started``, if its processes are to be started as a person's
            are, and not forked: see :mod:`tests.workers.forked`.
        environment: more variables.
    """

    def __init__(
        self, state_dir: Path, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.state_dir = state_dir
        self.arguments = list(arguments)
        self.port = free_port()
        self.metrics_port = free_port()
        self.page_port = free_port()
        self.environment = {
            **os.environ,
            "STRONGROOM_STATE_DIR": str(state_dir),
            "STRONGROOM_FLOWER__PORT": str(self.port),
            "STRONGROOM_METRICS__PORT": str(self.metrics_port),
            "STRONGROOM_PAGE__PORT": str(self.page_port),
            **(environment or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """All that its processes wrote."""
        files = [self.state_dir.parent / "supervisor.log", *sorted((self.state_dir / "logs").glob("*.log"))]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def start(self, *, wait: bool = True) -> RunningCluster:
        """Start it; return when all its processes are ready."""
        self._close_pipe()
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with (self.state_dir.parent / "supervisor.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.workers.up", *self.arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                process_group=0,
            )
        if wait:
            assert self.process.stdout is not None
            assert self.process.stdout.readline() == b"ready\n", self.log
            self.note()
        return self

    def pid(self, name: str) -> int | None:
        """Return the main process of a pool, of ``broker`` or of ``beat``."""
        read = status.read(self.state_dir)
        return read.processes[name].pid if read and name in read.processes else None

    def note(self) -> set[int]:
        """Remember every process there is now, and return the ids of all seen so far."""
        self._seen |= descendants(self.supervisor)
        return self._seen

    def left_over(self) -> set[int]:
        """Return which of the processes seen still run."""
        return {pid for pid in self._seen if is_alive(pid)}

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does, and return its exit status."""
        assert self.process is not None
        self.note()
        self.process.send_signal(how)
        return self.process.wait(2 * PATIENCE)  # warm, then cold, then killed

    def _close_pipe(self) -> None:
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()

    def close(self) -> None:
        """End it and whatever is left of it."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.note()
            self.process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._close_pipe()
        for pid in self.left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
