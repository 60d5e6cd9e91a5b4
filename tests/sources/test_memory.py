"""The memory store against the suites; it adds only the careless source."""

from __future__ import annotations

import pytest

from strongroom.plugins.conformance.sources import DestinationConformance, secret
from strongroom.sources import Destination
from strongroom.sources.memory import MemoryStore


class TestMemoryStore(DestinationConformance):
    @pytest.fixture
    def destination(self) -> Destination:
        return MemoryStore()


def test_two_secrets_of_one_name_are_both_listed() -> None:
    source = MemoryStore([secret("A"), secret("A"), secret("B")])
    assert [entry.name for entry in source.list()] == ["A", "A", "B"]
