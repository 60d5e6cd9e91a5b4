"""Programs of somebody's own: what they are given, whatever becomes of this process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from multiprocessing import get_context
from pathlib import Path
from typing import NoReturn

import pytest

from strongroom.system.program import NotStarted, TooSlow, run_program
from tests.patience import PATIENCE

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
        run_program(["/bin/sh", "-c", f"cat > {got}"], told={}, timeout=PATIENCE, given=VALUE.encode())

    process = get_context("fork").Process(target=work)
    process.start()
    assert got.read_text() == VALUE
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_what_a_program_cannot_be_given_whole_it_is_not_given_at_all(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with pytest.raises(NotStarted, match="too large"):
        run_program(["/usr/bin/touch", str(ran)], told={}, timeout=PATIENCE, given=b"x" * 10_000_000)
    assert not ran.exists()


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("perl") is None, reason="a program that changes its user takes root"
)
def test_a_program_that_became_another_user_is_not_waited_for_without_end() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        sudo, became, gate = (Path(folder) / name for name in ("sudo", "became", "gate"))
        shutil.copy(shutil.which("perl") or "", sudo)
        sudo.chmod(0o4755)
        os.mkfifo(became)
        os.mkfifo(gate)
        changes = f"$< = 0; open(B, '>', '{became}'); open(F, '<', '{gate}')"

        def too_long(process: subprocess.Popen[bytes], seconds: float) -> NoReturn:
            became.open("rb").close()  # waits until it is another user
            raise subprocess.TimeoutExpired(process.args, seconds)

        def work() -> None:
            os.setgid(nobody)
            os.setuid(nobody)
            subprocess.Popen.wait = too_long  # type: ignore[assignment, method-assign]
            with pytest.raises(TooSlow, match="runs on"):
                run_program([str(sudo), "-e", changes], told={}, timeout=1.0)

        process = get_context("fork").Process(target=work)
        process.start()
        try:
            process.join(PATIENCE)
            assert process.exitcode == 0
        finally:
            gate.open("wb").close()  # lets the program end
