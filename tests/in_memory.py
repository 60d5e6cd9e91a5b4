"""Temporary folders in memory: the product waits for the disk after each write, and most tests need not.

A test with ``@pytest.mark.durable`` has its ``tmp_path`` on a disk. All tests have if TMPDIR is set, or if no
file system in memory has room and may hold programs: a container's often has 64 MB and runs none.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from multiprocessing.util import Finalize
from pathlib import Path

import pytest

MEMORY = Path("/dev/shm")
DISK = Path("/var/tmp")
ROOM = 4 << 30
PREFIX = "sr-tests-"


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Put the temporary folders of this process, and of those that it starts, into one folder in memory."""
    if "TMPDIR" in os.environ or not _fits():
        return
    _remove_left()
    folder = MEMORY / f"{PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o711)  # PostgreSQL runs as another user
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def pytest_sessionfinish(exitstatus: int) -> None:
    """Give the memory back, unless a test failed, whose folder somebody wants to see."""
    folder = Path(os.environ.get("TMPDIR", ""))
    if folder.name == f"{PREFIX}{os.getpid()}" and not exitstatus:
        # After the folder of the servers that multiprocessing forks from, which lies in it.
        Finalize(None, shutil.rmtree, (folder,), {"ignore_errors": True}, exitpriority=-200)


def _fits() -> bool:
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & (os.ST_NOEXEC | os.ST_RDONLY)


def _remove_left() -> None:
    """Remove what failed runs left."""
    for folder in MEMORY.glob(f"{PREFIX}*"):
        if not Path("/proc", folder.name.removeprefix(PREFIX)).exists():
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder of one test's own, on a disk if the test is about what a disk keeps."""
    if request.node.get_closest_marker("durable") is None:
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=DISK) as folder:
        yield Path(folder)
