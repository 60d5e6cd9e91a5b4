"""The seed of what tests draw: new in each run, printed first; STRONGROOM_TESTS_SEED draws the same again."""

from __future__ import annotations

import os
import random

import pytest

VARIABLE = "STRONGROOM_TESTS_SEED"


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Choose a seed, which the processes of the run inherit."""
    os.environ.setdefault(VARIABLE, str(random.randrange(1 << 32)))


def pytest_report_header() -> str:
    """Say what to set to draw the same again."""
    return f"{VARIABLE}={os.environ[VARIABLE]}"


def drawn(purpose: str) -> random.Random:
    """Return the run's own source of chance for one purpose, whatever ran before."""
    return random.Random(f"{os.environ[VARIABLE]} {purpose}")
