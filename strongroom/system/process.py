"""This process: its forks, its memory kept to itself, its host, and the person who started it."""

from __future__ import annotations

import ctypes
import gc
import ipaddress
import os
import pwd
import resource
import signal
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

# -- Forked processes of one command: where they are safe, and that none outlives it ------------


PR_SET_PDEATHSIG = 1


def may_fork() -> bool:
    """Tell whether forking is safe on this system: on macOS its frameworks forbid it."""
    return sys.platform == "linux"


def die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, which would otherwise leave it waiting
    for ever: it inherited both ends of what it reads or writes."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


INTERRUPTING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)
"""SIGALRM brings an interruption that had to be put off (:mod:`strongroom.cli.terminal.stopping`)."""


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM wait until the block ends; forked processes never get them.

    Python drops what a signal's handler raises while it forks: the command would go on as if
    nobody had stopped it. A child would unwind its parent's stack and report for it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores(quotas: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> int:
    """Return how many processors this process may use: by its affinity, and by the tightest quota over it."""
    if sys.platform != "linux":
        return os.cpu_count() or 1
    worth = (_quota(folder) for folder in _groups(quotas, own))
    return max(1, min(len(os.sched_getaffinity(0)), *worth))


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Yield the control groups that this process is in (cgroup v2, or v1): a unit's, those above it, and the
    topmost that is to be seen, which is a container's own."""
    yield from (root, root / "cpu")
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "cpu" in controllers.split(","):
                base, group = root / ("cpu" if controllers else ""), Path(path.strip("/"))
                yield from (base / above for above in (group, *group.parents))


def _quota(folder: Path) -> int:
    """Return how many processors a control group's quota is worth, rounded up."""
    quota, period = "max", ""
    with suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
    if not period:
        with suppress(OSError):
            quota, period = ((folder / f"cpu.cfs_{each}_us").read_text() for each in ("quota", "period"))
    with suppress(ValueError):
        return -(-int(quota) // int(period)) if int(quota) > 0 else sys.maxsize
    return sys.maxsize


# -- Holding the cyclic garbage collector off while records stream through ----------------------


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector, if it runs, until the block ends.

    Planning and sealing make hundreds of thousands of records and no cycles; each
    collection would walk all of them and find nothing. Memory is bounded by the piece.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """Do the same while modules are imported and services built, and count what came as there to stay.

    No later collection walks it, and a forked process does not get its pages copied for that.
    """
    with uncollected():
        yield
        gc.freeze()


# -- Keeping what a process knows in its memory: no core dump, no look from beside, no swap -----


# Linux's: prctl(2), mlockall(2), capabilities(7).
_SET_DUMPABLE = 4
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4
_IPC_LOCK: Final = 1 << 14


def keep_in_memory() -> bool:
    """Have the kernel write this process's memory nowhere, nor show it to other processes of its user.

    It never makes the process fail: memory is locked only where no limit stands against it, since under one
    the next allocation beyond the limit would be refused. Pages are locked as they are used, so the process
    gets no larger. A forked process does not inherit the locks, and takes its own.

    Returns:
        Whether the memory is locked. Without the right to, and off Linux, it is not.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return False
    _library().prctl(_SET_DUMPABLE, 0, 0, 0, 0)
    return lock() and _lock_in_children()


def lock() -> bool:
    """Lock this process's memory, if no limit stands against it; tell whether it is."""
    if not may_lock():
        return False
    locked: int = _library().mlockall(_CURRENT | _FUTURE | _ON_FAULT)
    return locked == 0


def may_lock() -> bool:
    """Tell whether memory may be locked without a limit."""
    if sys.platform != "linux":
        return False
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return unlimited or bool(_capabilities() & _IPC_LOCK)


def swaps(listed: Path = Path("/proc/swaps")) -> list[str]:
    """Return the disks that memory may be written to. Compressed memory (zram) is no disk.

    Raises:
        OSError: the system does not tell.
    """
    areas = [line.split()[0] for line in listed.read_text(errors="replace").splitlines()[1:] if line.strip()]
    return [area for area in areas if not area.startswith("/dev/zram")]


@cache
def _lock_in_children() -> bool:
    os.register_at_fork(after_in_child=lock)
    return True


@cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _capabilities() -> int:
    try:
        lines = Path("/proc/self/status").read_bytes().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1], 16) for line in lines if line.startswith(b"CapEff:")), 0)


# -- Which host is this one ---------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Say whether a host is this one: only there may tokens and values go without TLS."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


# -- Who asks for something: what goes on record beside a reason, and who cannot approve what they asked for


def who() -> str:
    """Return the user and the host. Somebody who became another user by sudo is still themselves."""
    return f"{os.environ.get('SUDO_USER') or _user(os.getuid())}@{socket.gethostname()}"


def _user(uid: int) -> str:
    """Return a user's name; a container may run as a number that no user has. LOGNAME could say anybody."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


# -- One of something for each process, made on first use ---------------------------------------


T = TypeVar("T")

_everywhere: weakref.WeakSet[PerProcess[Any]] = weakref.WeakSet()


class PerProcess(Generic[T]):
    """Makes its thing again in a forked child.

    A pooled connection that two processes share hands one of them the answer to the other's
    request: a secret under a foreign name. What the parent made is kept, unused, so that
    collecting it in the child cannot write to the parent's connections.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._held: tuple[int, T] | None = None
        self._foreign: list[T] = []
        self._lock = threading.Lock()
        _everywhere.add(self)

    def get(self) -> T:
        """Return this process's own."""
        made = self._held
        if made is not None and made[0] == os.getpid():
            return made[1]
        with self._lock:
            return self._own()

    def peek(self) -> T | None:
        """Return this process's own if there is one."""
        made = self._held
        return made[1] if made is not None and made[0] == os.getpid() else None

    def forget(self) -> T | None:
        """Have the next call make another; return this process's own, if there is one, to be closed."""
        with self._lock:
            own = self.peek()
            if own is not None:
                self._held = None
            return own

    def _own(self) -> T:
        if self._held is not None and self._held[0] != os.getpid():
            self._foreign.append(self._held[1])
            self._held = None
        if self._held is None:
            self._held = (os.getpid(), self._make())
        return self._held[1]

    def forked(self) -> None:
        """Forget a lock that a thread of the parent may have held: nobody here would release it."""
        self._lock = threading.Lock()


def _renew_locks() -> None:
    for each in list(_everywhere):
        each.forked()


os.register_at_fork(after_in_child=_renew_locks)
