"""The memory target meets the contract, and can be full."""

from __future__ import annotations

import pytest

from strongroom.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.targets.conformance import TargetConformance, names, put


class TestMemory(TargetConformance):
    @pytest.fixture
    def target(self) -> Target:
        return MemoryTarget()


def test_a_full_memory_refuses_before_it_reads_and_keeps_what_it_holds() -> None:
    target = MemoryTarget(capacity=10)
    put(target, "a", b"12345678")

    with pytest.raises(TargetFull):
        target.put("b", iter(()), size=3, sha256=bytes(32))

    assert names(target) == ["a"]
    assert put(target, "b", b"90") is True
