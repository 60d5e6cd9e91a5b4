"""Programs of somebody's own: what they are given, whatever becomes of this process."""

from __future__ import annotations

import os
import signal
import subprocess
from multiprocessing import get_context
from pathlib import Path

import pytest

from strongroom.system.program import NotStarted, run_program

VALUE = "CANARY-value"


def test_a_program_has_all_that_it_reads_though_its_caller_is_killed_as_it_starts(tmp_path: Path) -> None:
    got = tmp_path / "got"
    os.mkfifo(got)

    def work() -> None:
        start = subprocess.Popen

        def start_and_die(*words: object, **options: object) -> None:
            start(*words, **options)  # type: ignore[call-overload]
            os.kill(os.getpid(), signal.SIGKILL)

        subprocess.Popen = start_and_die  # type: ignore[assignment, misc]
        run_program(["/bin/sh", "-c", f"cat > {got}"], told={}, timeout=20, given=VALUE.encode())

    process = get_context("fork").Process(target=work)
    process.start()
    assert got.read_text() == VALUE
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_what_a_program_cannot_be_given_whole_it_is_not_given_at_all(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(NotStarted, match="too large"):
        run_program(["/usr/bin/touch", str(ran)], told={}, timeout=20, given=b"x" * 10_000_000)
    assert not ran.exists()
