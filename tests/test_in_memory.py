"""Temporary folders are in memory, but for tests about what a disk keeps."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.in_memory import DISK, MEMORY, PREFIX

in_memory = pytest.mark.skipif(
    PREFIX not in os.environ.get("TMPDIR", ""), reason="no file system in memory has room, or TMPDIR is set"
)
pytestmark = [in_memory, pytest.mark.platform]


def test_a_test_has_its_folder_in_memory(tmp_path: Path) -> None:
    assert tmp_path.is_relative_to(MEMORY)
    assert Path(tempfile.gettempdir()).is_relative_to(MEMORY)


@pytest.mark.durable
def test_a_test_about_what_a_disk_keeps_has_it_on_a_disk(tmp_path: Path) -> None:
    assert tmp_path.is_relative_to(DISK)
    assert tmp_path.stat().st_dev != MEMORY.stat().st_dev
