"""A store of their own for tests that need one."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.state.store import RunStore


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(f"sqlite:///{tmp_path / 'state.db'}")
