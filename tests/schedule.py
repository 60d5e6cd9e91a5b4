"""Which tests come first, and which stay together in one process.

The tests of a file stay together, because they share servers and templates. So do files that share what takes
longest to make. What takes longest begins first, so that no process works on alone at the end.
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

TOGETHER = ("tests/journeys/", "tests/live/test_rgw")
"""Beginnings of paths: one house in which 35 nights went by, and one Ceph cluster."""

LONGEST_FIRST = (
    *("chaos", "journeys", "leaks", "golden", "installed", "hosts", "workers", "live"),
    *("forgeries", "simulation", "plugins", "tooling", "cli", "operations", "state"),
)
"""Folders. Those not named here have tests of milliseconds."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Send files, and some files together, each to one process, if whole files are asked for."""
    if config.getoption("dist") != "loadfile":
        return None
    scheduling = LoadFileScheduling(config, log)
    by_file = scheduling._split_scope
    scheduling._split_scope = lambda nodeid: _together(by_file(nodeid))
    return scheduling


def _together(file: str) -> str:
    return next((beginning for beginning in TOGETHER if file.startswith(beginning)), file)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with files that were given minutes, then with the folders of long tests."""
    minutes = {item.path for item in items if item.get_closest_marker("timeout")}
    items.sort(key=lambda item: (item.path not in minutes, _rank(item)))


def _rank(item: pytest.Item) -> int:
    folder = item.nodeid.split("/")[1]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)
