"""How a running cluster tells of its processes: a status file, and a pipe for "ready"."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec

from strongroom.model import prepare
from workers.paths import status_file
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


def remove(state_dir: Path) -> None:
    """Remove the status file of a cluster that ended."""
    status_file(state_dir).unlink(missing_ok=True)


def report_ready(name: str) -> None:
    """Tell the supervisor, if one waits for it, that this process is ready."""
    if (descriptor := os.environ.get(READY_FD)) is not None:
        os.write(int(descriptor), f"{name}\n".encode())
