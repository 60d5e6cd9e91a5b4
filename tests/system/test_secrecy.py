"""A process that holds keys: no core dump, closed to its neighbours, locked where it may be, never broken."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from strongroom.system import process

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(sys.platform != "linux", reason="prctl and mlockall are Linux's"),
]
ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root may raise the limit")

SHOW = """
def show(who):
    status = dict(line.split(':', 1) for line in open('/proc/self/status'))
    core, locked = resource.getrlimit(resource.RLIMIT_CORE)[0], int(status['VmLck'].split()[0]) > 0
    print(who, core, ctypes.CDLL(None).prctl(3), locked, flush=True)
"""
BEGIN = f"""
import ctypes, hashlib, os, resource, threading
from strongroom.system.process import keep_in_memory
{SHOW}
"""
NOBODY = """
if os.geteuid() == 0:  # its rights go beyond any limit
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
KEEP = "print(keep_in_memory(), flush=True)\n"


def run(program: str, *, limit: int | None = None) -> list[str]:
    """Run a program under a limit of memory that may be locked."""

    def prepare() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))

    command = [sys.executable, "-c", BEGIN + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=prepare)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@ROOT
def test_without_a_limit_memory_is_locked_in_forked_processes_too() -> None:
    forked = "show('own')\nif not os.fork():\n    show('child')\n    os._exit(0)\nos.wait()\n"

    assert run(KEEP + forked) == ["True", "own 0 0 True", "child 0 0 True"]


@pytest.mark.parametrize("limit", [0, 4 << 20, 8 << 20])
def test_under_a_limit_nothing_is_locked_and_no_allocation_fails(limit: int) -> None:
    work = """
held = [bytearray(64 << 20) for _ in range(4)]
thread = threading.Thread(target=print, args=('thread',))
thread.start(); thread.join()
hashlib.scrypt(b'', salt=b'', n=1 << 17, r=8, p=1, maxmem=1 << 28)
show('own')
"""
    assert run(NOBODY + KEEP + work, limit=limit) == ["False", "thread", "own 0 0 False"]


def test_its_own_files_and_pipes_still_open() -> None:
    work = """
read, write = os.pipe()
os.write(write, b'CANARY')
print(open(f'/dev/fd/{read}', 'rb', buffering=0).read(6))
"""
    assert run(NOBODY + KEEP + work)[-1] == "b'CANARY'"


def test_a_compressed_area_is_no_disk(tmp_path: Path) -> None:
    listed = tmp_path / "swaps"
    listed.write_text("Filename Type\n/dev/zram0 partition\n/dev/sda2 partition\n")

    assert process.swaps(listed) == ["/dev/sda2"]
