"""One task, performed by a process of its own as a pool would, without a broker."""

from __future__ import annotations

import subprocess
import sys

from tests.cli.program import ROOT, Machine
from tests.patience import PATIENCE


def perform(machine: Machine, task: str, *, role: str) -> tuple[int, str]:
    """Perform a task that returns a number; return that, and what was logged."""
    words = f"from workers.app import app; app.loader.import_default_modules(); print(app.tasks['{task}']())"
    done = subprocess.run(
        [sys.executable, "-c", words],
        cwd=machine.home,
        env=machine.env | {"STRONGROOM_ROLE": role, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout), done.stderr
