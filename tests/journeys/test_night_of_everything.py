"""The night of everything, in ``make test-long``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.series import may_mount
from tests.process import ROOT


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not may_mount() or shutil.which("gcc") is None, reason="it takes root, unshare and gcc")
def test_everything_goes_wrong_for_three_days_and_every_secret_comes_back(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.journeys.night_of_everything", str(tmp_path / "night")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=1700, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
