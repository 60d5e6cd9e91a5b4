"""A target that is read no faster than a rate."""

from __future__ import annotations

import pytest

from strongroom.plugins.conformance.targets import MIB, put
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import Paced


class Clock:
    """A clock that only sleeping and reading move."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


def paced(rate: float | None, clock: Clock) -> Paced:
    target = MemoryTarget()
    put(target, "big", bytes(8 * MIB))
    return Paced("eu", target, rate, monotonic=clock.monotonic, sleep=clock.sleep)


def test_so_many_bytes_take_so_long_over_any_number_of_reads() -> None:
    clock = Clock()
    one = paced(MIB, clock)
    assert sum(map(len, one.read("big"))) == 8 * MIB
    assert sum(map(len, one.read("big", offset=MIB, length=2 * MIB))) == 2 * MIB
    assert clock.now == pytest.approx(110.0)


def test_time_that_went_by_between_two_reads_is_not_made_up_for() -> None:
    clock = Clock()
    one = paced(MIB, clock)
    list(one.read("big", length=MIB))
    clock.now += 60.0
    list(one.read("big", length=4 * MIB))
    assert clock.now == pytest.approx(165.0)


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    list(paced(None, clock).read("big"))
    assert clock.now == 100.0
