"""What the processes of a cluster tell of themselves: a status file of all, a pipe for "ready", and the pulse
of each, by which its container's health check and systemd's watchdog know that it works.

A process tells that it works from its main loop, and from nowhere else: a loop that hangs falls silent. To
wait for a broker or a database that is away is work, too: to be killed for that again and again helps nobody.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import msgspec

from strongroom.model import prepare
from workers.paths import private_folder, pulse_folder, status_file

if TYPE_CHECKING:
    from workers.process import Child

READY_FD: Final = "STRONGROOM_READY_FD"


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """One process: its id while it runs, and how often it was started."""

    pid: int | None
    starts: int


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster of a state directory."""

    supervisor: int
    processes: dict[str, Process]


prepare(Status)


def write(state_dir: Path, children: Iterable[Child]) -> None:
    """Write the status file whole or not at all."""
    processes = {child.name: Process(pid=child.pid, starts=child.starts) for child in children}
    file = status_file(state_dir)
    provisional = file.with_suffix(".new")
    provisional.write_bytes(msgspec.json.encode(Status(supervisor=os.getpid(), processes=processes)))
    provisional.replace(file)


def read(state_dir: Path) -> Status | None:
    """Return what a running cluster wrote, or ``None``."""
    try:
        return msgspec.json.decode(status_file(state_dir).read_bytes(), type=Status)
    except FileNotFoundError:
        return None


def remove(state_dir: Path, roles: Iterable[str]) -> None:
    """Remove the status file of a cluster that ended, and the pulses of its processes that were killed."""
    status_file(state_dir).unlink(missing_ok=True)
    for role in roles:
        _pulse_file(state_dir, role).unlink(missing_ok=True)


def report_ready(name: str) -> None:
    """Tell the supervisor, if one waits for it, that this process is ready."""
    if (descriptor := os.environ.get(READY_FD)) is not None:
        os.write(int(descriptor), f"{name}\n".encode())


# -- The pulse of a process -----------------------------------------------------------------------


TELLS_EVERY: Final = 5.0
SILENT_AFTER: Final = 120.0
"""Seconds after which a process that has not told that it works is taken for one that hangs: WatchdogSec= of
the units is the same. To connect, and to stop warm, takes a minute at most."""
FORGOTTEN_AFTER: Final = 86400.0
"""Seconds after which nobody asks any more about a container that is gone."""


class Pulse:
    """Tells of this process, from its main loop, that it works: by the time of a file, and to systemd.

    Args:
        role: what it is.
        state_dir: the file is below it, in a folder of this host's (or container's) own name.
    """

    def __init__(self, role: str, state_dir: Path) -> None:
        self._file = _pulse_file(state_dir, role)
        self._touch()
        self._next = 0.0
        self._ready = False
        _forget_containers(pulse_folder(state_dir))

    def beat(self) -> None:
        """Tell that the main loop came round. May be called as often as it does."""
        if (now := time.monotonic()) < self._next:
            return
        self._next = now + TELLS_EVERY
        self._touch()
        _tell_systemd(b"WATCHDOG=1" if self._ready else b"READY=1\nWATCHDOG=1")
        self._ready = True

    def _touch(self) -> None:
        with suppress(OSError):  # a full disk is told of otherwise, and a file that stays old tells by itself
            private_folder(self._file.parent)
            self._file.touch(mode=0o600)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Tell that the process ends, and is missed by nobody."""
        _tell_systemd(b"STOPPING=1")
        with suppress(OSError):
            self._file.unlink()


def _pulse_file(state_dir: Path, role: str) -> Path:
    return pulse_folder(state_dir) / socket.gethostname() / role


def _tell_systemd(words: bytes) -> None:
    """Send what sd_notify(3) sends, if systemd started this process and listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith(("/", "@")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to_systemd, suppress(OSError):
            to_systemd.settimeout(0)
            to_systemd.sendto(words, address.replace("@", "\0", 1) if address[0] == "@" else address)


def _forget_containers(folder: Path) -> None:
    """Remove what containers left that are gone: each has a name of its own."""
    with suppress(OSError):  # two that begin at once remove the same
        for host in folder.iterdir():
            if min(map(_age, (host, *host.iterdir()))) > FORGOTTEN_AFTER:
                shutil.rmtree(host, ignore_errors=True)


def _age(file: Path) -> float:
    return abs(time.time() - file.stat().st_mtime)


def unhealthy(state_dir: Path, roles: Iterable[str]) -> Iterator[str]:
    """Yield what is wrong with each process of this host that does not tell that it works.

    Args:
        state_dir: theirs.
        roles: which; if none is given, those that were started here and were not told to stop.
    """
    folder = pulse_folder(state_dir) / socket.gethostname()
    wanted = sorted(roles) or (sorted(file.name for file in folder.iterdir()) if folder.is_dir() else [])
    if not wanted:
        yield f"no process of Strongroom was started on this host with the state directory {state_dir}"
    for role in wanted:
        try:
            silent = _age(folder / role)
        except FileNotFoundError:
            yield f"{role}: is not started, or has stopped"
        else:
            if silent > SILENT_AFTER:
                yield f"{role}: has not told for {silent:.0f} seconds that it works; start it again"
