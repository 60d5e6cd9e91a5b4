"""Resilient targets: what is tried again, what is not, and when a target is left alone."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier, Event

import pytest

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.model import ObjectInfo
from strongroom.plugins.conformance.targets import TargetConformance, exit_code, get, in_child, names, put
from strongroom.system.errors import TargetFull
from strongroom.targets import Target
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.resilient import Afresh, Resilient, RetryWaits
from tests.patience import PATIENCE
from tests.targets.flaky import START, Clock, FlakyTarget, LockingTarget, gone

CONTENT = b"CANARY-content"
SHA256 = hashlib.sha256(CONTENT).digest()


class TestRoundMemory(TargetConformance):
    @pytest.fixture
    def target(self) -> Target:
        return Resilient(MemoryTarget())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def around(
    target: Target,
    clock: Clock,
    *,
    attempts: int = 3,
    deadline: float = 60.0,
    progress: int = 1,
    failures: int = 9,
) -> Resilient:
    return Resilient(
        target,
        attempts=attempts,
        deadline=deadline,
        progress=progress,
        breaker=clock.breaker(failures=failures),
        waits=clock.waits(),
    )


def each_call(target: Target) -> list[Callable[[], object]]:
    return [
        lambda: put(target, "a", CONTENT),
        lambda: get(target, "a"),
        lambda: target.stat("a"),
        lambda: names(target),
        lambda: target.delete("a"),
        lambda: target.abort_incomplete(""),
    ]


# -- trying again --------------------------------------------------------------------


@pytest.mark.parametrize("number", range(6))
def test_every_call_outlasts_failures_that_pass(clock: Clock, number: int) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures = [gone(), gone()]
    flaky.calls = 0

    each_call(around(flaky, clock))[number]()

    assert flaky.calls == 3
    assert clock.waited == [0.25, 0.5]


@pytest.mark.parametrize("number", range(6))
def test_no_call_repeats_a_failure_that_stays(clock: Clock, number: int) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures = [TargetFull("no room")]
    flaky.calls = 0

    with pytest.raises(TargetFull):
        each_call(around(flaky, clock))[number]()

    assert (flaky.calls, clock.waited) == (1, [])


def test_after_the_last_attempt_the_targets_own_error_comes_out(clock: Clock) -> None:
    last = gone()
    flaky = FlakyTarget(gone(), gone(), last)

    with pytest.raises(TargetUnavailable) as caught:
        around(flaky, clock).stat("a")

    assert caught.value is last


def test_no_attempt_begins_after_the_deadline(clock: Clock) -> None:
    flaky = FlakyTarget(*(gone() for _ in range(50)))

    with pytest.raises(TargetUnavailable):
        around(flaky, clock, attempts=50, deadline=3.0, failures=99).stat("a")

    assert clock.waited == [0.25, 0.5, 1.0]  # 2 more would end at 3.75


def test_waits_grow_up_to_a_limit_and_half_of_each_is_drawn() -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    waits = RetryWaits(first=1.0, longest=5.0, uniform=uniform)

    assert [waits.delay(failures, None) for failures in (1, 2, 3, 4, 5000)] == [0.5, 1.0, 2.0, 2.5, 2.5]
    assert drawn == [(0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (2.5, 5.0), (2.5, 5.0)]


def test_a_target_that_says_when_to_come_back_is_left_alone_until_then(clock: Clock) -> None:
    flaky = FlakyTarget(gone(retry_after=7.0))

    around(flaky, clock).stat("a")

    assert clock.waited == [7.25]


def test_a_target_that_wants_to_be_left_alone_past_the_deadline_gets_its_way_at_once(clock: Clock) -> None:
    flaky = FlakyTarget(gone(retry_after=600.0))

    with pytest.raises(TargetUnavailable):
        around(flaky, clock).stat("a")

    assert (flaky.calls, clock.waited) == (1, [])


# -- put -----------------------------------------------------------------------------


def test_a_put_of_chunks_that_can_be_had_again_is_tried_again(clock: Clock) -> None:
    flaky = FlakyTarget(gone(), after_bytes=3)
    made: list[Iterator[bytes]] = []

    def make() -> Iterator[bytes]:
        made.append(iter([CONTENT[:3], CONTENT[3:]]))
        return made[-1]

    assert around(flaky, clock).put("a", Afresh(make), size=len(CONTENT), sha256=SHA256) is True
    assert get(flaky, "a") == CONTENT
    assert len(made) == 2


def test_a_put_of_chunks_that_were_taken_is_not_tried_again(clock: Clock) -> None:
    flaky = FlakyTarget(gone(), after_bytes=3)

    with pytest.raises(TargetUnavailable):
        around(flaky, clock).put("a", iter([CONTENT]), size=len(CONTENT), sha256=SHA256)

    assert flaky.calls == 1
    assert names(flaky) == []


def test_a_put_that_took_nothing_yet_is_tried_again_whatever_its_chunks(clock: Clock) -> None:
    flaky = FlakyTarget(gone())

    assert around(flaky, clock).put("a", iter([CONTENT]), size=len(CONTENT), sha256=SHA256) is True


def test_chunks_that_only_look_as_if_they_could_be_had_again_fail_as_what_failed_first(clock: Clock) -> None:
    class Once:
        def __init__(self) -> None:
            self._chunks = iter([CONTENT[:3], CONTENT[3:]])

        def __iter__(self) -> Iterator[bytes]:
            yield from self._chunks

    first = gone()
    flaky = FlakyTarget(first, after_bytes=3)

    with pytest.raises(TargetUnavailable) as caught:
        around(flaky, clock).put("a", Once(), size=len(CONTENT), sha256=SHA256)

    assert caught.value is first
    assert names(flaky) == []


def test_wrong_content_is_wrong_on_the_second_attempt_too(clock: Clock) -> None:
    flaky = FlakyTarget(gone(), after_bytes=3)

    with pytest.raises(VerificationFailed):
        around(flaky, clock).put("a", [b"CANARY-xontent"], size=len(CONTENT), sha256=SHA256)

    assert names(flaky) == []


def test_a_put_whose_reply_was_lost_says_that_the_object_is_there(clock: Clock) -> None:
    flaky = FlakyTarget(gone(), lose_replies=True)

    assert around(flaky, clock).put("a", [CONTENT], size=len(CONTENT), sha256=SHA256) is False
    assert get(flaky, "a") == CONTENT


def test_a_failure_of_the_chunks_is_neither_repeated_nor_held_against_the_target(clock: Clock) -> None:
    others = TargetUnavailable("target 'other' did not answer")

    def chunks() -> Iterator[bytes]:
        yield CONTENT[:3]
        raise others

    flaky = FlakyTarget()
    target = around(flaky, clock, failures=1)

    with pytest.raises(TargetUnavailable) as caught:
        target.put("a", Afresh(chunks), size=len(CONTENT), sha256=SHA256)

    assert caught.value is others
    assert flaky.calls == 1
    assert target.stat("a") is None  # the breaker, which opens at one failure, is closed


# -- read and list -------------------------------------------------------------------


def test_a_read_goes_on_where_it_stopped(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures, flaky._after = [gone(), gone(), gone()], 4

    target = around(flaky, clock, attempts=2)  # each time it gets on, so two attempts are enough

    assert get(target, "a") == CONTENT
    assert flaky.offsets == [0, 4, 8, 12]


def test_a_region_that_gives_a_little_and_breaks_off_each_time_is_given_up(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures, flaky._after = [gone(), gone(), gone()], 4
    target = around(flaky, clock, attempts=3, progress=5, failures=3)

    with pytest.raises(TargetUnavailable, match="did not answer"):
        get(target, "a")
    with pytest.raises(TargetUnavailable, match="it was not asked"):
        get(target, "a")

    assert flaky.offsets == [0, 4, 8]


def test_a_range_that_breaks_off_is_completed_and_no_longer(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures, flaky._after = [gone()], 4

    assert b"".join(around(flaky, clock).read("a", offset=2, length=7)) == CONTENT[2:9]


def test_a_reading_that_was_garbled_is_not_patched_up(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    flaky.failures, flaky._after = [TargetGarbled("changed on the way")], 4

    with pytest.raises(TargetGarbled):
        get(around(flaky, clock), "a")

    assert flaky.offsets == [0]


def test_a_missing_object_is_missing_at_once(clock: Clock) -> None:
    flaky = FlakyTarget()

    with pytest.raises(MissingPiece):
        get(around(flaky, clock), "a")

    assert flaky.calls == 1


def test_a_listing_goes_on_after_the_last_name_and_gives_none_twice(clock: Clock) -> None:
    flaky = FlakyTarget()
    for name in "abcde":
        put(flaky, name, b"x")
    flaky.failures, flaky._after = [gone(), gone()], 2

    assert names(around(flaky, clock)) == list("abcde")


# -- the breaker ---------------------------------------------------------------------


def broken(clock: Clock, flaky: FlakyTarget) -> Resilient:
    """Return a target whose breaker has just opened."""
    flaky.failures = [gone(), gone(), gone()]
    target = around(flaky, clock, attempts=9, failures=3)
    with pytest.raises(TargetUnavailable, match="did not answer"):
        target.stat("a")
    return target


def test_a_dead_target_is_left_alone_after_a_few_failures(clock: Clock) -> None:
    flaky = FlakyTarget()
    target = broken(clock, flaky)

    for call in each_call(target):
        with pytest.raises(TargetUnavailable, match="it was not asked"):
            call()

    assert flaky.calls == 3


def test_a_refusal_says_since_when_and_when_it_is_tried_again(clock: Clock) -> None:
    target = broken(clock, FlakyTarget())
    clock.seconds = 20.0

    with pytest.raises(TargetUnavailable) as caught:
        target.stat("a")

    # It opened at 0.75 s, for 30 s.
    assert "'flaky'" in caught.value.message
    assert "since 2026-11-25T03:00:00Z" in caught.value.message
    assert "again at 2026-11-25T03:00:30Z" in caught.value.message
    assert "The last time: target 'flaky' did not answer" in caught.value.message
    assert caught.value.retry_after == pytest.approx(10.75)


def test_after_the_pause_one_call_tries_and_its_success_closes_the_circuit(clock: Clock) -> None:
    flaky = FlakyTarget()
    target = broken(clock, flaky)
    clock.seconds = 31.0

    target.stat("a")
    target.stat("a")

    assert flaky.calls == 5


def test_after_the_pause_one_failure_opens_the_circuit_again_at_once(clock: Clock) -> None:
    flaky = FlakyTarget()
    target = broken(clock, flaky)
    clock.seconds = 31.0
    flaky.failures = [gone(), gone()]

    with pytest.raises(TargetUnavailable, match="did not answer"):
        target.stat("a")
    with pytest.raises(TargetUnavailable, match="it was not asked"):
        target.stat("a")

    assert flaky.calls == 4


def test_while_one_call_tries_all_others_are_refused(clock: Clock) -> None:
    entered, go = Event(), Event()

    class Slow(FlakyTarget):
        def stat(self, name: str) -> None:
            if clock.seconds > 30:
                entered.set()
                assert go.wait(PATIENCE)
            super().stat(name)

    flaky = Slow()
    target = broken(clock, flaky)
    clock.seconds = 31.0
    with ThreadPoolExecutor(1) as pool:
        trying = pool.submit(target.stat, "a")
        assert entered.wait(PATIENCE)
        with pytest.raises(TargetUnavailable, match="is being tried again now"):
            target.delete("a")
        go.set()
        trying.result(PATIENCE)

    target.delete("a")


def test_a_refusal_for_good_is_an_answer_and_closes_the_circuit(clock: Clock) -> None:
    flaky = FlakyTarget()
    target = broken(clock, flaky)
    clock.seconds = 31.0
    flaky.failures = [TargetError("no")]

    with pytest.raises(TargetError, match="no"):
        target.stat("a")

    assert target.stat("a") is None


def test_a_try_that_its_caller_gives_up_lets_another_one_try(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    target = broken(clock, flaky)
    clock.seconds = 31.0

    def interrupted() -> Iterator[bytes]:
        raise KeyboardInterrupt
        yield b""

    with pytest.raises(KeyboardInterrupt):
        target.put("b", interrupted(), size=1, sha256=SHA256)

    assert get(target, "a") == CONTENT


def test_a_reader_that_takes_its_time_holds_nobody_up(clock: Clock) -> None:
    flaky = FlakyTarget()
    put(flaky, "a", CONTENT)
    target = broken(clock, flaky)
    clock.seconds = 31.0

    reading = iter(target.read("a"))
    next(reading)

    assert target.stat("a") is not None


def test_failures_side_by_side_are_one_failure(clock: Clock) -> None:
    all_in = Barrier(8)

    class Hiccup(FlakyTarget):
        def stat(self, name: str) -> None:
            all_in.wait(PATIENCE)
            raise gone() if name else AssertionError

    target = around(Hiccup(), clock, attempts=1, failures=2)
    with ThreadPoolExecutor(8) as pool:
        clock.seconds = 1.0
        calls = [pool.submit(target.stat, "a") for _ in range(8)]
        errors = [call.exception(PATIENCE) for call in calls]

    assert all("did not answer" in str(error) for error in errors)
    assert not target._breaker.is_open


def test_two_calls_that_waited_for_an_answer_in_vain_are_enough(clock: Clock) -> None:
    """With a region that hangs, each of them costs a caller the whole of its timeout."""
    hanging = Hanging(clock)
    target = around(hanging, clock, attempts=9, failures=3)

    with pytest.raises(TargetUnavailable, match="did not answer"):
        target.stat("a")

    assert hanging.asked == 2


class Hanging(MemoryTarget):
    """A target that lets its callers wait for ten seconds, and then for another ten."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.asked = 0

    def stat(self, name: str) -> ObjectInfo | None:  # noqa: ARG002
        self.asked += 1
        self._clock.seconds += 10
        raise TargetUnavailable("the target did not answer")


def test_failures_that_are_not_in_a_row_open_nothing(clock: Clock) -> None:
    flaky = FlakyTarget()
    target = around(flaky, clock, attempts=1, failures=3)

    for _ in range(5):
        flaky.failures = [gone(), gone()]
        for _ in range(2):
            with pytest.raises(TargetUnavailable, match="did not answer"):
                target.stat("a")
        target.stat("a")


def test_the_target_may_ask_for_a_longer_pause_than_ours(clock: Clock) -> None:
    flaky = FlakyTarget(gone(retry_after=300.0))
    target = around(flaky, clock, failures=1)
    with pytest.raises(TargetUnavailable):
        target.stat("a")
    clock.seconds = 299.0

    with pytest.raises(TargetUnavailable, match="it was not asked"):
        target.stat("a")


def test_a_forked_child_knows_what_its_parent_found_dead_and_waits_for_no_lock_of_it(clock: Clock) -> None:
    target = broken(clock, FlakyTarget())
    held = target._breaker._circuits[os.getpid()].lock

    with held:  # as a thread could hold it during the fork

        def ask() -> int:
            with pytest.raises(TargetUnavailable, match="it was not asked"):
                target.stat("a")
            clock.seconds = 60.0
            assert target.stat("a") is None
            return 0

        child = in_child(ask)
    assert exit_code(child) == 0


# -- locks ---------------------------------------------------------------------------


def test_it_locks_if_and_only_if_its_target_does() -> None:
    assert not Resilient(MemoryTarget()).locks
    assert Resilient(LockingTarget()).locks


def test_locks_are_looked_at_and_extended_in_spite_of_failures_that_pass(clock: Clock) -> None:
    locking = LockingTarget(gone())
    target = around(locking, clock)
    end = START + timedelta(days=30)

    assert target.extend_lock("a", end) == end
    locking.failures = [gone()]
    assert target.locked_until("a") == end
