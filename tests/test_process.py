"""What a server of a test's own stands on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.process import ROOT, ServerProcess, ServerUnavailable

ASKS = "from tests.process import free_port; print(*(free_port() for _ in range(100)))"


def test_no_two_processes_are_told_the_same_port_or_one_that_the_kernel_gives_away() -> None:
    asking = [
        subprocess.Popen([sys.executable, "-c", ASKS], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        for _ in range(4)
    ]
    told = [int(port) for process in asking for port in process.communicate()[0].split()]

    assert len(told) == len(set(told)) == 400
    assert max(told) < 32_768


def test_a_server_has_not_started_because_something_answers_in_its_place() -> None:
    def something_answers() -> bool:
        assert server.process is not None
        return server.process.poll() is not None

    server = ServerProcess(lambda _: [sys.executable, "-c", ""], ready=something_answers)
    with pytest.raises(ServerUnavailable, match="it did not start"), server:
        pytest.fail("it was called ready")
