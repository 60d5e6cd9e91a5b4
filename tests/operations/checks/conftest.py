from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.loading import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where a configuration is, beside the world's own state."""
    folder = tmp_path / "configured"
    folder.mkdir()
    return Place(folder)
