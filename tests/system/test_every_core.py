"""Several processes give what one gives: the same results, in the same order, and the same errors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.errors import SourceError
from strongroom.system import every_core
from strongroom.system.every_core import Spread, as_they_come, in_order
from strongroom.system.process import cores, may_fork

pytestmark = [
    pytest.mark.skipif(not may_fork(), reason="forking is not safe on this system"),
    pytest.mark.platform,
]

HOME = os.getpid()


@pytest.fixture
def on_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda number: monkeypatch.setattr(every_core, "cores", lambda: number)


def parts_of(item: tuple[int, int]) -> Iterator[bytes]:
    number, count = item
    yield from (b"%d/%d" % (number, part) * (1 + part * 5_000) for part in range(count))


ITEMS_OF_THREE = [(number, 3) for number in range(5)]
ITEMS = st.lists(st.integers(0, 5), max_size=12)


@pytest.mark.parametrize("processes", [1, 2, 5])
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(counts=ITEMS)
def test_any_number_of_processes_gives_the_same(
    on_cores: Callable[[int], None], processes: int, counts: list[int]
) -> None:
    on_cores(processes)
    items = list(enumerate(counts))
    here = [part for item in items for part in parts_of(item)]
    assert list(in_order(parts_of, items)) == here
    assert sorted(as_they_come(parts_of, items)) == sorted(here)


def test_of_several_that_take_numbers_at_once_each_is_taken_by_one() -> None:
    """A part of a source that two children list is in the backup twice."""
    many = 200_000
    with every_core._nameless_file() as numbers:
        every_core._put(numbers, many)
        gate, opens = os.pipe()
        pipes = [os.pipe() for _ in range(2)]
        for _, writing in pipes:
            if not os.fork():
                os.close(opens)
                os.read(gate, 1)
                taken = list(every_core._taken(numbers.fileno()))
                with suppress(BaseException), os.fdopen(writing, "wb") as pipe:
                    pipe.write(b"".join(b"%d " % number for number in taken))
                os._exit(0)
            os.close(writing)
        os.close(opens)
        os.close(gate)
    found: list[int] = []
    for reading, _ in pipes:
        with os.fdopen(reading, "rb") as pipe:
            found += map(int, pipe.read().split())
    for _ in pipes:
        os.wait()
    assert sorted(found) == list(range(many))


def test_a_python_that_makes_no_file_in_memory_shares_a_temporary_one(
    on_cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cores(2)
    monkeypatch.delattr(os, "memfd_create")
    with closing(Spread(parts_of, ITEMS_OF_THREE)) as spread:
        assert len(spread.processes) == 2
        assert list(spread.in_order()) == [part for item in ITEMS_OF_THREE for part in parts_of(item)]


def test_where_no_file_can_be_made_at_all_one_process_does_it(
    on_cores: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "full")

    on_cores(2)
    monkeypatch.setattr(every_core, "_nameless_file", full)
    with closing(Spread(parts_of, ITEMS_OF_THREE)) as spread:
        assert spread.processes == []
        assert list(spread.in_order()) == [part for item in ITEMS_OF_THREE for part in parts_of(item)]


class Bad(SourceError):
    """What the third item raises."""


def third_is_bad(item: tuple[int, int]) -> Iterator[bytes]:
    yield from parts_of(item)
    if item[0] == 2:
        raise Bad(f"item {item[0]} is bad", hint="Look at it.")


@pytest.mark.parametrize("processes", [1, 2, 5])
def test_the_first_error_ends_it_after_all_that_came_before(
    on_cores: Callable[[int], None], processes: int
) -> None:
    on_cores(processes)
    items = [(number, 3) for number in range(8)]
    came: list[bytes] = []
    with pytest.raises(Bad, match="item 2 is bad") as caught:
        note(in_order(third_is_bad, items), came.append)
    assert caught.value.hint == "Look at it."
    assert came == [part for item in items[:3] for part in parts_of(item)]
    with pytest.raises(Bad, match="item 2 is bad"):
        list(as_they_come(third_is_bad, items))
    assert children() == set()


def note(parts: Iterator[bytes], taken: Callable[[bytes], None]) -> None:
    for part in parts:
        taken(part)


def dies_at_the_third(item: tuple[int, int]) -> Iterator[bytes]:
    for part, content in enumerate(parts_of(item)):
        yield content
        if os.getpid() != HOME and item[0] == 2 and part == 1:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("gather", [in_order, as_they_come])
def test_a_child_that_is_killed_midway_costs_time_alone(
    on_cores: Callable[[int], None], gather: Callable[..., Iterator[bytes]]
) -> None:
    on_cores(2)
    items = [(number, 4) for number in range(6)]
    came = list(gather(dies_at_the_third, items))
    assert sorted(came) == sorted(part for item in items for part in parts_of(item))
    assert children() == set()


@pytest.mark.parametrize("gather", [Spread.in_order, Spread.as_they_come])
def test_all_children_killed_from_outside_leave_the_work_to_the_parent(
    on_cores: Callable[[int], None], gather: Callable[[Spread[tuple[int, int]]], Iterator[bytes]]
) -> None:
    on_cores(3)
    items = [(number, 4) for number in range(6)]
    with closing(Spread(parts_of, items)) as spread:
        for process in spread.processes:
            os.kill(process, signal.SIGKILL)
        assert sorted(gather(spread)) == sorted(part for item in items for part in parts_of(item))


def test_a_bug_in_a_child_shows_here_as_what_it_is(on_cores: Callable[[int], None]) -> None:
    on_cores(2)

    def work(item: int) -> Iterator[bytes]:
        yield b"%d" % (1 // item)

    with pytest.raises(ZeroDivisionError):
        list(in_order(work, [1, 0]))


class Stopped(BaseException):
    """What Ctrl-C raises."""


def test_what_stops_the_parent_ends_the_children(on_cores: Callable[[int], None]) -> None:
    on_cores(2)

    def endless(item: int) -> Iterator[bytes]:
        while True:
            yield bytes(100_000)

    def stop(part: bytes) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        note(in_order(endless, [1, 2]), stop)
    assert children() == set()


def test_a_child_neither_forks_again_nor_takes_a_signal_that_is_for_the_command(
    on_cores: Callable[[int], None],
) -> None:
    on_cores(2)

    def work(item: int) -> Iterator[bytes]:
        os.kill(os.getpid(), signal.SIGINT)
        yield b"%d" % len(set(in_order(whose, [1, 2, 3])))

    def whose(item: int) -> Iterator[bytes]:
        yield b"%d" % os.getpid()

    with closing(Spread(work, [1, 2])) as spread:
        assert list(spread.as_they_come()) == [b"1", b"1"]


GUARDED = """
import ctypes, resource
from strongroom.system import every_core
from strongroom.system.process import keep_in_memory

def guards(item):
    yield b"%d %d" % (resource.getrlimit(resource.RLIMIT_CORE)[0], ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))

every_core.cores = lambda: 2
keep_in_memory()
print(list(every_core.in_order(guards, [1, 2])))
"""
"""Prints the largest core dump and whether others may look (PR_GET_DUMPABLE), of each child."""


def test_a_child_inherits_that_its_memory_is_written_nowhere() -> None:
    told = subprocess.run([sys.executable, "-c", GUARDED], check=True, capture_output=True, text=True)
    assert told.stdout == "[b'0 0', b'0 0']\n"


def test_what_is_ahead_waits_until_it_is_read(on_cores: Callable[[int], None], tmp_path: Path) -> None:
    on_cores(2)

    def counting(item: int) -> Iterator[bytes]:
        for number in range(100):
            (tmp_path / f"{item}-{number}").touch()
            yield bytes(1 << 20)

    with closing(Spread(counting, [0, 1])) as spread:
        for _ in zip(range(100), spread.in_order(), strict=False):
            pass  # all of the first item
        # In the pipe one, in the queue as many as are kept, and one that waits.
        assert len(list(tmp_path.glob("1-*"))) <= every_core.AHEAD + 3


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu.max": "what\n"}, 64),
    ],
    ids=str,
)
def test_a_container_has_as_many_cores_as_its_quota_is_worth(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores(tmp_path, tmp_path / "none") == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"system.slice/seal.service/cpu.max": "300000 100000\n"}, 3),
        ({"system.slice/seal.service/cpu.max": "max 100000\n", "system.slice/cpu.max": "200000 100000\n"}, 2),
        ({"system.slice/seal.service/cpu.max": "300000 100000\n", "cpu.max": "100000 100000\n"}, 1),
        ({"system.slice/other.service/cpu.max": "100000 100000\n"}, 64),
        ({"cpu/unit/cpu.cfs_quota_us": "500000\n", "cpu/unit/cpu.cfs_period_us": "100000\n"}, 5),
    ],
    ids=str,
)
def test_a_unit_has_as_many_cores_as_the_tightest_quota_over_it_is_worth(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    own = tmp_path / "own"
    own.write_text("4:memory:/\n2:cpu,cpuacct:/unit\n1:cpuset:/x\n0::/system.slice/seal.service\n")
    assert cores(tmp_path, own) == expected


_others: set[int] = set()
"""Children that were there before: servers that other tests share."""


@pytest.fixture(autouse=True)
def others() -> None:
    _others.clear()
    _others.update(children())


def children() -> set[int]:
    """Return this process's children that nobody waited for, and that the test started."""
    path = Path("/proc/self/task", str(threading.get_native_id()), "children")
    return {int(child) for child in path.read_text().split()} - _others
