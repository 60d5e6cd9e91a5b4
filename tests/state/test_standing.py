"""Looking whether there is a state database: none is made, and none is migrated."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from strongroom.state.engine import StateDatabase, require
from strongroom.state.errors import StateError
from strongroom.state.migrations import HEAD


def test_an_empty_database_is_none_and_stays_one(empty_url: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StateError, match=r"no state database|empty"):
        require(StateDatabase(empty_url))
    assert sorted(tmp_path.iterdir()) == before


def test_a_database_of_this_version_is_one_and_has_a_clock(url: str) -> None:
    database = StateDatabase(url)
    require(database)
    assert database.revision() == HEAD
    assert abs(database.clock() - time.time()) < 60
    database.close()
