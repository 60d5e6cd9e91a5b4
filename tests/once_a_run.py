"""One server a run: the first process that needs it starts it, the others join, the controller ends it.

For servers in which each test has a database, a bucket or a container of its own. Redis is emptied by its
tests, moto is made to forget everything by each, and OpenBao's policies and quotas hold for all of it: each
process has those to itself, which costs 0.01, 0.3 and 0.1 s of a processor.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.patience import PATIENCE
from tests.process import POLL_SECONDS, ServerProcess

FOLDER: Final = "STRONGROOM_TESTS_SERVERS"
"""The variable that tells the processes of one run where it is written which servers run."""

_STARTED: Final[dict[Path, ServerProcess]] = {}
"""Those that this process started: it waits for them, if it is the one that ends them."""


def once_a_run(name: str, server: ServerProcess, **facts: str) -> dict[str, Any]:
    """Start a server, or join the one that another process started.

    Args:
        facts: what else those that join have to know.

    Returns:
        the facts of whoever started it.
    """
    folder = Path(os.environ[FOLDER])
    file = folder / f"{name}.json"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file.exists():
            found: dict[str, Any] = json.loads(file.read_text())
            server.join(port=found["port"], folder=Path(found["folder"]))
            return found
        server.start(outlives=True)
        _STARTED[file] = server
        found = {"pid": server.pid, "port": server.port, "folder": str(server.folder)}
        file.write_text(json.dumps({**found, "signal": server.killing, **facts}))
        return facts


def end_all(folder: Path) -> None:
    """End every server that was started, and remove what they held."""
    for file in folder.glob("*.json"):
        if file in _STARTED:
            _STARTED.pop(file).close()
        else:
            _end(json.loads(file.read_text()))
    shutil.rmtree(folder)


def _end(found: dict[str, Any]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(found["pid"], signal.Signals(found["signal"]))
    deadline = time.monotonic() + PATIENCE
    while _runs(found["pid"]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    shutil.rmtree(found["folder"], ignore_errors=True)


def _runs(pid: int) -> bool:
    """Tell whether a process runs; one that has ended, and that nobody has asked about yet, does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder in the process that starts the others, which inherit its environment."""
    if not hasattr(config, "workerinput"):
        os.environ[FOLDER] = tempfile.mkdtemp(prefix="sr-run-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers once the other processes have ended."""
    if not hasattr(config, "workerinput"):
        end_all(Path(os.environ.pop(FOLDER)))
