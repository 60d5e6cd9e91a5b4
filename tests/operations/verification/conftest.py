"""A store of their own for tests that need one, on both databases."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from strongroom.state.store import RunStore
from tests.postgres import postgres_server as postgres_server  # noqa: PLC0414  # a fixture is found by name
from tests.state.conftest import emptied_database as emptied_database  # noqa: PLC0414
from tests.state.conftest import kind as kind  # noqa: PLC0414
from tests.state.conftest import migrated_database as migrated_database  # noqa: PLC0414
from tests.state.conftest import migrated_file as migrated_file  # noqa: PLC0414
from tests.state.conftest import url as url  # noqa: PLC0414


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    store = RunStore(url)
    yield store
    store.close()
