"""Time one whole process, start-up included, with what it and its children used, and say on which machine."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts.bench.rows import Measured

SAMPLE_SECONDS = 0.05
TICK = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count() or 1


class CommandFailed(Exception):
    """A measured command ended with another code than 0."""


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
    stdout: Path | None = None,
    memory: bool = True,
) -> Measured:
    """Run ``command`` to its end and measure it.

    Raises:
        CommandFailed: it ended with another code than 0; carries the end of its stderr.
    """
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(Path(os.devnull).open("rb"))
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
        seconds=round(seconds, 4),
        cpu_seconds=round(used, 4),
        peak_mib=round(max(usage.ru_maxrss, sampled) / 1024, 1),
        others=round(min(1.0, max(0.0, (busy - used) / (seconds * CORES))), 3),
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


# -- what a process reads of one file, as the kernel sees it --------------------------------

CALLS = "read,pread64,readv,preadv,preadv2,mmap"
RETURNED = re.compile(r"^\d+ +(\w+)\(.*\) = (\w+)$")


def reads_in(trace: str) -> dict[str, float] | None:
    """Add up the calls in the output of ``strace -f -P FILE``; ``None`` if the file was mapped, for
    then nothing can be said of its reads."""
    found = [match.groups() for match in map(RETURNED.match, trace.splitlines()) if match]
    sizes = [int(result) for call, result in found if call != "mmap" and int(result) > 0]
    if any(call == "mmap" for call, _ in found):
        return None
    return {"reads": len(sizes), "KiB read": round(sum(sizes) / 1024, 1)}


def count_reads(
    command: Sequence[str], file: Path, *, env: Mapping[str, str], scratch: Path
) -> dict[str, float] | None:
    """Run ``command`` under strace; ``None`` without strace, or if either failed."""
    if not shutil.which("strace"):
        return None
    trace = scratch / "trace"
    watched = ["strace", "-f", "-qq", "-P", str(file), "-e", f"trace={CALLS}", "-e", "signal=none"]
    done = subprocess.run(
        [*watched, "-o", str(trace), *command], env=dict(env), capture_output=True, check=False
    )
    return reads_in(trace.read_text(errors="replace")) if done.returncode == 0 else None


# -- the machine, and nothing that identifies it --------------------------------------------


def _first(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip().strip('"')
    return "unknown"


def _system() -> str:
    values = dict(
        line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line
    )
    return values.get("PRETTY_NAME", platform.system()).strip('"')


def _file_system(path: Path) -> str:
    """Return the type of the file system that holds ``path``: the longest mount point wins."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, mount, found, *_rest = line.split()
        if str(path.resolve()).startswith(mount) and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def machine(scratch: Path) -> dict[str, str]:
    """Return the machine as label and value, in print order."""
    memory = int(_first("/proc/meminfo", "MemTotal").split()[0]) / 1024**2
    return {
        "Processor": f"{_first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "Memory": f"{memory:.0f} GiB",
        "File system": f"{_file_system(scratch)}, warm page cache",
        "System": f"{_system()}, Linux {platform.release().split('-')[0]}",
        "Python": platform.python_version(),
        "Load before": f"{os.getloadavg()[0]:.1f}",
    }
