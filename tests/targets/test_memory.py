"""The memory target meets the contract, and can be full."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.plugins.conformance.targets import TargetConformance, names, put
from strongroom.system.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget


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


def test_what_was_deleted_makes_room() -> None:
    target = MemoryTarget(capacity=10)
    put(target, "a", b"12345678")

    target.delete("a")
    target.delete("a")

    assert put(target, "b", b"1234567890") is True
    with pytest.raises(TargetFull):
        put(target, "c", b"1")


def test_room_is_counted_right_when_many_put_at_once() -> None:
    target = MemoryTarget(capacity=6_000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: put(target, f"many/{number}", b"1"), range(6_000)))
    finally:
        sys.setswitchinterval(interval)

    assert len(names(target)) == 6_000
    with pytest.raises(TargetFull):
        put(target, "more", b"1")
