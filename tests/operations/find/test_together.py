"""Reading several backups at once: the first alone, the others together, each outcome in its place."""

from __future__ import annotations

import threading

import pytest

from strongroom.errors import StrongroomError
from strongroom.operations.archive.find import outcomes
from strongroom.targets.errors import TargetUnavailable
from tests.patience import PATIENCE


def test_the_first_is_read_alone_and_the_others_at_once() -> None:
    alone, met = list[int](), threading.Barrier(3, timeout=PATIENCE)

    def look(backup: int) -> int:
        if backup == 0:
            alone.append(threading.active_count())
        else:
            assert alone, "a person answers for the first before another is opened"
            met.wait()  # nobody comes past alone
        return backup * 10

    assert list(outcomes(range(4), int, look, together=True)) == [(0, 0), (1, 10), (2, 20), (3, 30)]


def test_keys_that_serve_one_at_a_time_are_asked_one_at_a_time() -> None:
    busy = threading.Lock()

    def look(backup: int) -> int:
        assert busy.acquire(blocking=False)
        try:
            return backup
        finally:
            busy.release()

    assert [outcome for _, outcome in outcomes(range(20), int, look, together=False)] == list(range(20))


def test_one_that_fails_keeps_no_other_from_its_turn_and_a_mistake_of_ours_is_raised() -> None:
    def look(backup: str) -> str:
        if backup == "away":
            raise TargetUnavailable("it does not answer")
        return backup.upper()

    found = dict(outcomes(["a", "away", "b"], str, look, together=True))
    assert (found["a"], found["b"]) == ("A", "B")
    assert isinstance(found["away"], StrongroomError)
    with pytest.raises(ZeroDivisionError):
        list(outcomes([1, 0], int, lambda number: 1 // number, together=True))


def test_attempts_are_put_on_record_in_order_and_before_they_are_made() -> None:
    begun, looked = list[int](), list[int]()

    def begin(backup: int) -> int:
        begun.append(backup)
        return backup

    def look(backup: int) -> None:
        assert backup in begun
        looked.append(backup)

    for backup, _ in outcomes(range(30), begin, look, together=True):
        assert begun[backup] == backup
    assert begun == list(range(30))
    assert sorted(looked) == begun
