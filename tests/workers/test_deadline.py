"""A thread that is held up past its limit makes its process exit."""

from __future__ import annotations

import subprocess
import sys

from tests.patience import PATIENCE
from workers.deadline import OVERDUE_EXIT, deadline


def run(program: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", program], timeout=PATIENCE, check=False, stderr=subprocess.DEVNULL
    ).returncode


def test_a_task_past_its_deadline_ends_the_process() -> None:
    program = (
        "import threading\n"
        "from workers.deadline import deadline\n"
        "with deadline(0.1, 'upload'):\n"
        "    threading.Event().wait()\n"
    )

    assert run(program) == OVERDUE_EXIT


def test_a_task_within_its_deadline_does_not() -> None:
    program = (
        "import threading\n"
        "from workers.deadline import deadline\n"
        "with deadline(60, 'upload'):\n"
        "    timers = [one for one in threading.enumerate() if isinstance(one, threading.Timer)]\n"
        "assert timers\n"
        "for one in timers:\n"
        "    one.join()\n"
    )

    assert run(program) == 0


def test_the_limit_is_lifted_when_the_task_fails() -> None:
    try:
        with deadline(60, "upload"):
            raise ValueError
    except ValueError:
        pass
