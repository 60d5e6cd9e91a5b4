"""Starts a cluster as a person would, watches its processes, and ends all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from tests.cli.program import Machine, command
from tests.patience import PATIENCE, until
from tests.process import ends_with_this, free_port, listens
from workers import status

FORKED = str(Path(__file__).with_name("forked.py"))


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


class Started:
    """The supervisor of a cluster in a process of its own, what it started, and what it said."""

    out: Path
    err: Path

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._seen: set[int] = set()

    @property
    def supervisor(self) -> int:
        """The supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    def answer(self) -> str:
        """What it said on stdout."""
        return self.out.read_text()

    def errors(self) -> str:
        """What it said on stderr."""
        return self.err.read_text(errors="replace")

    def run(self, command: list[str], *, env: Mapping[str, str], cwd: Path | None = None) -> None:
        """Start it; it is killed, and what it started with it, when this process ends."""
        with self.out.open("wb") as answers, self.err.open("ab") as errors:
            self.process = subprocess.Popen(
                [*ends_with_this(), *command],
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=answers,
                stderr=errors,
                process_group=0,
            )

    def await_ready(self, words: str) -> None:
        """Return once it said so."""

        def ready() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.errors()
            return words in self.answer()

        until(ready, what=lambda: f"the cluster\n{self.errors()}")
        self.note()

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
        return self.wait()  # warm, then cold, then killed

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        assert self.process is not None
        return self.process.wait(PATIENCE)

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
        for pid in self.left_over():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class RunningCluster(Started):
    """A cluster of a test's own settings, of all its pools or of some.

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
        super().__init__()
        self.state_dir = state_dir
        self.out, self.err = state_dir.parent / "supervisor.out", state_dir.parent / "supervisor.log"
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

    @property
    def log(self) -> str:
        """All that its processes wrote."""
        files = [self.err, *sorted((self.state_dir / "logs").glob("*.log"))]
        return "\n".join(file.read_text(errors="replace") for file in files if file.exists())

    def start(self, *, wait: bool = True) -> RunningCluster:
        """Start it; return when all its processes are ready, and what it serves over HTTP is there."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        self.run([sys.executable, "-m", "tests.workers.up", *self.arguments], env=self.environment)
        if wait:
            self.await_ready("ready\n")
            served = {"--flower": self.port, "--metrics": self.metrics_port, "--page": self.page_port}
            for option in served.keys() & self.arguments:  # it is up without them
                until(
                    partial(listens, served[option]),
                    what=lambda option=option: f"what {option} serves\n{self.log[-2000:]}",
                )
        return self

    def pid(self, name: str) -> int | None:
        """Return the main process of a pool, of ``broker`` or of ``beat``."""
        read = status.read(self.state_dir)
        return read.processes[name].pid if read and name in read.processes else None


class CommandUp(Started):
    """``strongroom up`` as a person types it, on a machine of its own."""

    def __init__(self, machine: Machine) -> None:
        super().__init__()
        self.out, self.err = machine.path("up.out"), machine.path("up.err")
        self.err.unlink(missing_ok=True)


@contextmanager
def up(machine: Machine, *words: str, wait: bool = True, forked: bool = False) -> Iterator[CommandUp]:
    """Run the cluster inside the block, from the moment when it says that it is up.

    Args:
        forked: where the test is about what the cluster does, and not about how it starts: it forks its
            processes, see :mod:`tests.workers.forked`.
    """
    running = CommandUp(machine)
    running.run(
        [sys.executable, FORKED, "up", *words] if forked else command("up", *words),
        cwd=machine.home,
        env=machine.env,
    )
    try:
        if wait:
            running.await_ready("The cluster is up")
        yield running
    finally:
        running.close()
