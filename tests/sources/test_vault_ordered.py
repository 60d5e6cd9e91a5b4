"""Requests in flight: order kept, and memory bounded, however fast the answers come."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from strongroom.sources.vault.reading import WAITING_BYTES, ordered

IN_FLIGHT = 4


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(IN_FLIGHT) as made:
        yield made


def test_the_order_is_that_of_the_items_even_if_the_first_is_last(threads: ThreadPoolExecutor) -> None:
    others = threading.Semaphore(0)

    def work(item: int) -> int:
        if item == 0:
            for _ in range(2 * IN_FLIGHT - 1):  # all that may be under way beside it
                others.acquire()
        else:
            others.release()
        return item

    found = ordered(threads, work, range(100), in_flight=IN_FLIGHT, weigh=lambda _: 0, together=1)
    assert list(found) == list(range(100))


def test_what_waits_unasked_for_is_bounded(threads: ThreadPoolExecutor) -> None:
    done = []

    def work(item: int) -> int:
        done.append(item)
        return item

    found = ordered(threads, work, range(1_000), in_flight=IN_FLIGHT, weigh=lambda _: WAITING_BYTES)
    assert next(found) == 0
    assert len(done) <= 2 * IN_FLIGHT * 8 + 8
    found.close()


def test_a_failure_comes_in_its_turn_and_ends_the_rest(threads: ThreadPoolExecutor) -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 3:
            raise ValueError("CANARY")
        return item

    found = ordered(threads, work, range(10_000), in_flight=IN_FLIGHT, weigh=lambda _: 0, together=1)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="CANARY"):
        next(found)
    threads.shutdown()
    assert len(begun) < 100


def test_nothing_is_begun_before_it_is_asked_for(threads: ThreadPoolExecutor) -> None:
    begun = []
    ordered(threads, begun.append, range(10), in_flight=IN_FLIGHT, weigh=lambda _: 0)
    assert begun == []
