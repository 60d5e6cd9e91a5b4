"""Real disks that are full or read-only, for root and for everybody else."""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE


def _run(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0
    except FileNotFoundError:
        return False


@contextlib.contextmanager
def small_disk(path: Path, *, size: int) -> Iterator[bool]:
    """Mount a file system of ``size`` bytes at ``path``; give ``False`` where we may not mount."""
    mounted = _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path))
    try:
        yield mounted
    finally:
        if mounted:
            # Lazily: a descriptor that a failing test left open must not keep the mount.
            assert _run("umount", "-l", str(path))


@contextlib.contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Make a tree read-only: by a mount, else by mode bits, which do not bind root."""
    with contextlib.ExitStack() as undo:
        if _run("mount", "--bind", str(path), str(path)):
            undo.callback(_run, "umount", "-l", str(path))
            assert _run("mount", "-o", "remount,bind,ro", str(path))
        elif os.geteuid() == 0:
            assert _run("chattr", "-R", "+i", str(path)), "root may neither mount nor make files immutable"
            undo.callback(_run, "chattr", "-R", "-i", str(path))
        else:
            for directory in [path, *(found for found in path.rglob("*") if found.is_dir())]:
                undo.callback(directory.chmod, stat.S_IMODE(directory.stat().st_mode))
                directory.chmod(0o500)
        yield
