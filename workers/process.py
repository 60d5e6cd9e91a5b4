"""One child process of the cluster, started in a group of its own and ended with all of it; what wakes
whoever supervises them; and what they write, kept in files."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

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


# -- What wakes the supervisor --
#
# Nothing polls. Signals and ``stop`` write to a socket pair, children to pipes that they inherit.


STOPPING = (signal.SIGINT, signal.SIGTERM)


class Wakeup:
    """The supervisor's one place to wait. ``stops`` counts how often it was asked to stop, and ``stopped_by``
    is the first signal that did."""

    def __init__(self) -> None:
        self.stops = 0
        self.stopped_by: signal.Signals | None = None
        self._in, self._out = socket.socketpair()
        self._ready_in, self.ready_fd = os.pipe()
        for descriptor in (self._in.fileno(), self._out.fileno(), self._ready_in):
            os.set_blocking(descriptor, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._in, selectors.EVENT_READ)
        self._selector.register(self._ready_in, selectors.EVENT_READ)

    def stop(self) -> None:
        """Ask to stop; from any thread."""
        self.stops += 1
        with suppress(OSError):  # full: it is awake already; or closed: it was stopped meanwhile
            self._out.send(b"\0")

    def wait(self, seconds: float | None) -> set[str]:
        """Wait until something happens or the time is over; return who reported to be ready."""
        ready: set[str] = set()
        for key, _ in self._selector.select(seconds):
            if key.data is not None:
                key.data()
                continue
            with suppress(BlockingIOError):
                if key.fd == self._ready_in:
                    ready.update(os.read(self._ready_in, 4096).decode("ascii", "replace").split())
                else:
                    self._in.recv(4096)
        return ready

    def watch(self, descriptor: int, heed: Callable[[], None]) -> None:
        """Call ``heed`` during a wait, whenever there is something to read."""
        self._selector.register(descriptor, selectors.EVENT_READ, heed)

    def unwatch(self, descriptor: int) -> None:
        """Call it no more."""
        self._selector.unregister(descriptor)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Heed SIGINT, SIGTERM and the ends of children inside the block. Main thread only."""
        before = {number: signal.getsignal(number) for number in (*STOPPING, signal.SIGCHLD)}
        before_fd = signal.set_wakeup_fd(self._out.fileno(), warn_on_full_buffer=False)
        for number in before:
            signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            signal.set_wakeup_fd(before_fd)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number in STOPPING:
            self.stops += 1
            self.stopped_by = self.stopped_by or signal.Signals(number)

    def close(self) -> None:
        """Give back all descriptors."""
        self._selector.close()
        self._in.close()
        self._out.close()
        os.close(self._ready_in)
        os.close(self.ready_fd)


# -- What a child writes, kept in files --
#
# The supervisor reads it from a pipe and alone writes the file, so that no two processes rotate one, what a
# library prints past the logging becomes a line like the others, and the last error is at hand when a
# process exits.


LIMIT: Final = 10 * 1024 * 1024
KEPT: Final = 5
LONGEST: Final = 256 * 1024
"""Bytes of the longest line: one without an end is cut, not gathered without end."""
ERRORS: Final = frozenset({"error", "critical"})

OnLine = Callable[[dict[str, Any]], None]


class LogFile:
    """A file of lines that begins again past ``limit`` bytes; the ``kept`` before it are numbered.

    A full disk costs lines, never the cluster.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT, kept: int = KEPT) -> None:
        self._path, self._limit, self._kept = path, limit, kept

    def write(self, line: bytes) -> None:
        """Append a line."""
        with suppress(OSError):
            if self._size() + len(line) > self._limit:
                self._rotate()
            with self._path.open("ab") as file:
                file.write(line)

    def _size(self) -> int:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class ChildLog:
    """Where one process's stdout and stderr go.

    Args:
        name: the process.
        file: what its lines are written to.
        wakeup: what wakes when there is something to read.
        on_line: called with each line that is of our own logging.
    """

    def __init__(self, name: str, file: LogFile, *, wakeup: Wakeup, on_line: OnLine) -> None:
        self.last_error = ""
        self._name, self._file, self._wakeup, self._on_line = name, file, wakeup, on_line
        self._read: int | None = None
        self._rest = b""

    def connect(self) -> int:
        """Return the end of a new pipe to write to; close it once the process has it."""
        self.close()
        self.last_error = ""
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self._wakeup.watch(self._read, self.pump)
        return write

    def pump(self) -> None:
        """Take what has come; never waits."""
        while self._read is not None:
            try:
                data = os.read(self._read, 65536)
            except BlockingIOError:
                return
            if not data:
                self._end()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._rest) > LONGEST:
                self._take(self._rest)
                self._rest = b""

    def close(self) -> None:
        """Take what is left, and let go of the pipe."""
        self.pump()
        self._end()

    def _end(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._read is not None:
            self._wakeup.unwatch(self._read)
            os.close(self._read)
            self._read = None

    def _take(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip()
        if not text:
            return
        line = _parsed(text)
        ours = line is not None
        line = line or {"at": _now(), "level": "info", "process": self._name, "event": "output", "text": text}
        if ours and line.get("level") in ERRORS:
            self.last_error = error_summary(line)
        elif not ours and not text[0].isspace():
            self.last_error = text
        self._file.write(json.dumps(line).encode() + b"\n")
        if ours:
            self._on_line(line)


def error_summary(line: dict[str, Any]) -> str:
    """Return an error's line in few words: the exception's own, if it has one."""
    error = line.get("error")
    return str(error[0] if isinstance(error, list) and error else line.get("why") or line.get("event"))


def _parsed(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"at", "level", "event"} <= found.keys() else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
