"""Two days of the calendar on a live cluster, in ``make test-long``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.series import may_mount
from tests.process import ROOT
from tests.redis_server import server_program


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(server_program() is None, reason="no redis-server on the path; 'make services'")
@pytest.mark.skipif(not may_mount() or shutil.which("gcc") is None, reason="it takes root, unshare and gcc")
def test_two_days_of_the_calendar_are_lived_through_as_promised(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.chaos.month", "1", str(tmp_path / "month"), "--days", "2"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
