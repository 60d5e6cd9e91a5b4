"""``strongroom up`` as a person types it, on a machine of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cli.program import Machine, command
from tests.workers.cluster import until

FORKED = str(Path(__file__).with_name("forked.py"))


class Running:
    """A running cluster: its process, and what it said to the terminal."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    def answer(self) -> str:
        return self._out.read_text()

    def errors(self) -> str:
        return self._err.read_text()


@contextmanager
def up(machine: Machine, *words: str, wait: bool = True, forked: bool = False) -> Iterator[Running]:
    """Run the cluster inside the block, from the moment when it says that it is up.

    Args:
        forked: where the test is about what the cluster does, and not about how it starts: it forks its
            processes, see :mod:`tests.workers.forked`.
    """
    out, err = machine.path("up.out"), machine.path("up.err")
    with out.open("wb") as answers, err.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, FORKED, "up", *words] if forked else command("up", *words),
            cwd=machine.home,
            env=machine.env,
            stdin=subprocess.DEVNULL,
            stdout=answers,
            stderr=errors,
        )
    running = Running(process, out, err)
    try:
        if wait:
            until(lambda: "The cluster is up" in running.answer(), what=f"the cluster\n{running.errors()}")
        yield running
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
