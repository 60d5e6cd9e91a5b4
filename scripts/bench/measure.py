"""Time one whole process, start-up included, with what it and its children used."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 0.05
TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


class CommandFailed(Exception):
    """A measured command ended with another code than 0."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One run. ``peak_mib`` is of the largest single process, children included;
    ``others`` is the share of the machine that everything else used meanwhile, 0 to 1."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    others: float


def _busy_seconds() -> float:
    """Return CPU seconds that all processes have used since boot."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = fields
    return (user + nice + system + irq + softirq) / TICK


def _session_members(session: int) -> Iterator[Path]:
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError, ValueError):
            # Field 6 of stat, counted after the name, which may hold spaces and brackets.
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                yield entry


def _high_water_kib(process: Path) -> int:
    with contextlib.suppress(OSError):
        for line in (process / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


class _PeakWatch(threading.Thread):
    """Keeps the largest high-water mark of any process in a session.

    ``wait4`` alone misses children that their parent never waited for, and counts the
    launcher's own pages towards a small child, so the marks are read while they live.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.session = session
        self.peak_kib = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            marks = [_high_water_kib(member) for member in _session_members(self.session)]
            self.peak_kib = max([self.peak_kib, *marks])


def run(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: Path | None = None,
    stdout: Path | None = None,
    memory: bool = True,
) -> Measured:
    """Run ``command`` to its end and measure it.

    Raises:
        CommandFailed: it ended with another code than 0; carries the end of its stderr.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context((stdin or Path(os.devnull)).open("rb"))
        sink = stack.enter_context((stdout or Path(os.devnull)).open("wb"))
        errors = stack.enter_context(_scratch())
        busy, started = _busy_seconds(), time.perf_counter()
        child = subprocess.Popen(
            command, env=dict(env), cwd=cwd, stdin=source, stdout=sink, stderr=errors, start_new_session=True
        )
        watch = _PeakWatch(child.pid) if memory else None
        if watch:
            watch.start()
        _pid, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        if watch:
            watch.ended.set()
            watch.join()
        busy = _busy_seconds() - busy
        if child.returncode:
            raise CommandFailed(f"{command[0]} ended with {child.returncode}: {_tail(errors)}")
    used = usage.ru_utime + usage.ru_stime
    sampled = watch.peak_kib if watch else 0
    return Measured(
        seconds=seconds,
        cpu_seconds=used,
        peak_mib=max(usage.ru_maxrss, sampled) / 1024,
        others=min(1.0, max(0.0, (busy - used) / (seconds * CORES))),
    )


@contextlib.contextmanager
def _scratch() -> Iterator[int]:
    handle = os.memfd_create("stderr")
    try:
        yield handle
    finally:
        os.close(handle)


def _tail(handle: int) -> str:
    size = os.lseek(handle, 0, os.SEEK_END)
    os.lseek(handle, max(0, size - 2000), os.SEEK_SET)
    return os.read(handle, 2000).decode(errors="replace").strip()
