"""What every target must do. One suite, any adapter, unchanged.

A test module subclasses :class:`SharedConformance`, or :class:`TargetConformance` if only the process that
made it can reach it, and gives it a ``target`` fixture: an empty target that is ready to use.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import signal
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import ClassVar

import pytest

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import StrongroomError, TargetError
from strongroom.model import ObjectInfo
from strongroom.targets import Target

MIB = 1024 * 1024
RACERS = 16
BAD_NAMES = [
    *("", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "../a", "a/./b", "a/.b", ".a"),
    *("a\\b", "a b", "a\0", "a\n", "é", "a:b", "a%2f", "~", "x" * 201, "/".join(["x" * 100] * 10)),
]


def put(target: Target, name: str, content: bytes) -> bool:
    """Put content whole, announced as what it is."""
    return target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def get(target: Target, name: str) -> bytes:
    """Read an object whole."""
    return b"".join(target.read(name))


def names(target: Target, prefix: str = "") -> list[str]:
    return [info.name for info in target.list(prefix)]


def used_whole(target: Target, own: str) -> tuple[object, ...]:
    """Use every method, on an object ``a`` that is there and one of its own; return what they gave."""
    created = put(target, f"{own}/x", b"x")
    found = (get(target, "a"), target.stat("a"), names(target, "a"), names(target, f"{own}/") == [f"{own}/x"])
    target.delete(f"{own}/x")
    return (created, *found, target.stat(f"{own}/x"))


def in_child(work: Callable[[], int]) -> int:
    """Run ``work`` in a forked child and return the child's process id; its result is the exit code."""
    with warnings.catch_warnings():
        # The test runner's own threads take no part in what the child does.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return child
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)  # never back into the test runner


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class TargetConformance:
    """The contract of :class:`strongroom.targets.Target`. ``strongroom up`` has several processes, which all
    reach a target: all but one that lives in memory are held to :class:`SharedConformance`.

    Fixtures: ``target``, an empty one; ``away``, targets whose store cannot be asked, if a test can have
    them.
    """

    page: ClassVar = 1_000
    """How many objects a server lists before it has to be asked again: as many as S3 gives."""
    streamed: ClassVar = 64
    """MiB of what is put and read while memory is measured: twice of what may be used."""

    @pytest.fixture
    def target(self) -> Iterator[Target]:
        raise NotImplementedError("a subclass gives the target")

    @pytest.fixture
    def away(self) -> Sequence[Target]:
        """Give targets whose store is not there, or is damaged: what they raise is a TargetError."""
        return ()

    def test_what_its_store_raises_comes_as_a_typed_error_that_names_it(self, away: Sequence[Target]) -> None:
        for target in away:
            calls: list[Callable[[], object]] = [
                lambda target=target: put(target, "a", b"CANARY"),  # type: ignore[misc]
                lambda target=target: get(target, "a"),  # type: ignore[misc]
                lambda target=target: target.stat("a"),  # type: ignore[misc]
                lambda target=target: list(target.list()),  # type: ignore[misc]
                lambda target=target: target.delete("a"),  # type: ignore[misc]
            ]
            for call in calls:
                with pytest.raises(TargetError) as told:
                    call()
                assert target.name in told.value.message
                assert "CANARY" not in f"{told.value.message} {told.value.hint}"

    def test_a_missing_object_is_told_with_the_target_s_name_and_address(self, target: Target) -> None:
        with pytest.raises(MissingPiece) as missing:
            get(target, "missing")

        assert target.name in missing.value.message
        assert target.address.removeprefix("memory:") in missing.value.message

    # -- put -----------------------------------------------------------------

    def test_an_object_that_was_put_reads_back_and_is_listed(self, target: Target) -> None:
        assert put(target, "manifests/a.json", b"content") is True

        assert get(target, "manifests/a.json") == b"content"
        assert target.stat("manifests/a.json") == ObjectInfo(name="manifests/a.json", size=7)
        assert list(target.list()) == [ObjectInfo(name="manifests/a.json", size=7)]

    def test_a_second_put_changes_nothing_and_says_so_whatever_its_content(self, target: Target) -> None:
        put(target, "a", b"first")

        assert put(target, "a", b"first") is False
        assert put(target, "a", b"other content") is False
        assert get(target, "a") == b"first"

    def test_an_empty_object_is_an_object(self, target: Target) -> None:
        assert put(target, "empty", b"") is True
        assert get(target, "empty") == b""
        assert target.stat("empty") == ObjectInfo(name="empty", size=0)

    def test_chunks_of_any_shape_make_one_object(self, target: Target) -> None:
        content = os.urandom(3 * MIB + 17)
        cuts = [0, 0, 1, 1000, MIB, MIB, len(content)]
        chunks = (memoryview(content)[a:b] for a, b in itertools.pairwise(cuts))

        target.put("a", chunks, size=len(content), sha256=hashlib.sha256(content).digest())

        assert get(target, "a") == content

    @pytest.mark.parametrize(
        ("announced", "digested"),
        [(b"longer than it", b"content"), (b"short", b"content"), (b"content", b"CONTENT")],
        ids=["too short", "too long", "other bytes"],
    )
    def test_content_other_than_announced_is_refused_and_leaves_nothing(
        self, target: Target, announced: bytes, digested: bytes
    ) -> None:
        with pytest.raises(VerificationFailed):
            target.put(
                "d/a", [b"con", b"tent"], size=len(announced), sha256=hashlib.sha256(digested).digest()
            )

        assert target.stat("d/a") is None
        assert names(target) == []
        assert put(target, "d/a", b"content") is True

    def test_content_that_never_ends_is_cut_off(self, target: Target) -> None:
        with pytest.raises(VerificationFailed):
            target.put("d/a", itertools.repeat(bytes(1000)), size=MIB, sha256=bytes(32))

        assert names(target) == []

    def test_a_failing_reader_fails_the_put_with_its_own_error_and_leaves_nothing(
        self, target: Target
    ) -> None:
        def chunks() -> Iterator[bytes]:
            yield b"half"
            raise InterruptedError("the reader's own trouble")

        with pytest.raises(InterruptedError, match="the reader's own trouble"):
            target.put("d/a", chunks(), size=8, sha256=bytes(32))

        assert target.stat("d/a") is None
        assert names(target) == []
        assert put(target, "d/a", b"whole") is True

    def test_an_object_is_not_there_before_it_is_whole(self, target: Target) -> None:
        content, seen = os.urandom(2 * MIB), list[object]()

        def chunks() -> Iterator[bytes]:
            yield content[:MIB]
            seen.extend([target.stat("d/a"), names(target)])
            yield content[MIB:]

        target.put("d/a", chunks(), size=len(content), sha256=hashlib.sha256(content).digest())

        assert seen == [None, []]
        assert get(target, "d/a") == content

    def test_of_racing_threads_exactly_one_creates_the_object(self, target: Target) -> None:
        together = Barrier(RACERS)

        def race(number: int) -> bool:
            content = bytes([number]) * 1000

            def chunks() -> Iterator[bytes]:
                yield content[:500]
                together.wait()
                yield content[500:]

            return target.put("d/a", chunks(), size=1000, sha256=hashlib.sha256(content).digest())

        with ThreadPoolExecutor(RACERS) as pool:
            created = list(pool.map(race, range(RACERS)))

        assert created.count(True) == 1
        assert get(target, "d/a") == bytes([created.index(True)]) * 1000

    # -- read ----------------------------------------------------------------

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, None),
            (0, 0),
            (0, 1),
            (5, None),
            (5, 10),
            (MIB - 1, 2),
            (MIB, MIB),
            (2 * MIB, 100),
            (9 * MIB, 9),
        ],
    )
    def test_a_range_is_cut_out_and_ends_at_the_objects_end(
        self, target: Target, offset: int, length: int | None
    ) -> None:
        content = os.urandom(2 * MIB + 50)
        put(target, "a", content)

        chunks = list(target.read("a", offset=offset, length=length))

        end = len(content) if length is None else offset + length
        assert b"".join(chunks) == content[offset:end]
        assert all(0 < len(chunk) <= MIB for chunk in chunks)

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_range_before_the_object_is_refused(
        self, target: Target, offset: int, length: int | None
    ) -> None:
        put(target, "a", b"content")

        with pytest.raises(TargetError):
            list(target.read("a", offset=offset, length=length))

    def test_a_missing_object_is_a_missing_piece(self, target: Target) -> None:
        put(target, "d/present", b"content")

        for name in ("absent", "d/absent", "d/present/below", "no/such/place"):
            assert target.stat(name) is None
            with pytest.raises(MissingPiece, match=name):
                list(target.read(name))

    # -- list ----------------------------------------------------------------

    def test_a_listing_ascends_by_the_whole_name(self, target: Target) -> None:
        # "-" and "." sort before "/", digits after: a walk by directory gets this wrong.
        objects = ["a-b", "a.b", "a/b/c", "a/b0", "a/b-1/x", "a0", "A", "b", "a/b.json"]
        for name in objects:
            put(target, name, name.encode())

        assert list(target.list()) == [ObjectInfo(name=n, size=len(n)) for n in sorted(objects)]

    @pytest.mark.parametrize(
        "prefix", ["", "c", "con", "containers/", "containers/run-1", "containers/run-1/", "m", "x", "a/x/"]
    )
    def test_a_prefix_cuts_the_listing_anywhere_in_a_name(self, target: Target, prefix: str) -> None:
        objects = ["containers/run-1/aa", "containers/run-1/ab", "containers/run-10/aa", "contents", "m/1"]
        for name in objects:
            put(target, name, b"x")

        assert names(target, prefix) == [name for name in sorted(objects) if name.startswith(prefix)]

    def test_a_prefix_stands_for_its_own_letters_alone(self, target: Target) -> None:
        objects = ["A_b/x", "AXb/x", "a_b/x", "aXb/x"]
        for name in objects:
            put(target, name, name.encode())

        assert names(target, "a_") == ["a_b/x"]
        assert names(target, "A") == ["AXb/x", "A_b/x"]
        assert {name: get(target, name) for name in objects} == {name: name.encode() for name in objects}

    def test_a_listing_longer_than_a_page_is_whole(self, target: Target) -> None:
        objects = [f"many/{number:04}" for number in range(self.page + 1)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda name: put(target, name, b""), objects))

        assert names(target) == objects

    # -- delete --------------------------------------------------------------

    def test_a_deleted_object_is_gone_and_its_name_free(self, target: Target) -> None:
        put(target, "d/a", b"old")
        put(target, "d/b", b"stays")

        target.delete("d/a")

        assert target.stat("d/a") is None
        assert names(target) == ["d/b"]
        assert put(target, "d/a", b"new") is True
        assert get(target, "d/a") == b"new"

    def test_deleting_what_is_not_there_is_fine(self, target: Target) -> None:
        put(target, "d/a", b"stays")

        for name in ("absent", "d/absent", "d/a/below", "d"):
            target.delete(name)

        assert names(target) == ["d/a"]

    def test_putting_and_deleting_side_by_side_disturb_each_other_nowhere(self, target: Target) -> None:
        def work(name: str) -> list[bool]:
            created = []
            for _ in range(40):
                created.append(put(target, name, b"x"))
                target.delete(name)
            return created

        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(work, ["runs/r/a", "runs/r/b", "runs/r/c/x", "runs/s"]))

        assert results == [[True] * 40] * 4
        assert names(target) == []

    # -- names ---------------------------------------------------------------

    @pytest.mark.parametrize("name", BAD_NAMES)
    def test_a_name_outside_the_grammar_is_refused_by_every_method(self, target: Target, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: put(target, name, b"x"),
            lambda: list(target.read(name)),
            lambda: target.stat(name),
            lambda: target.delete(name),
        ]
        for call in calls:
            with pytest.raises(TargetError) as caught:
                call()
            assert not caught.value.transient
        assert names(target) == []

    @pytest.mark.parametrize("prefix", ["/", "..", "a/../", "a/.", ".x", "a//", "a b"])
    def test_a_prefix_that_no_name_could_have_is_refused(self, target: Target, prefix: str) -> None:
        with pytest.raises(TargetError):
            list(target.list(prefix))
        with pytest.raises(TargetError):
            target.abort_incomplete(prefix)

    # -- the rest ------------------------------------------------------------

    def test_it_says_what_it_is_and_the_same_each_time(self, target: Target) -> None:
        first, second = [(target.name, target.region, target.provider, target.address) for _ in range(2)]
        assert first == second
        assert all(first)

    def test_a_sweep_leaves_complete_objects_alone(self, target: Target) -> None:
        put(target, "containers/r/a", b"content")

        assert target.abort_incomplete("") == 0
        assert target.abort_incomplete("containers/r/") == 0
        assert get(target, "containers/r/a") == b"content"

    def test_an_instance_survives_a_fork(self, target: Target) -> None:
        put(target, "a", b"content")

        used = used_whole(target, "before")

        child = in_child(lambda: 0 if used_whole(target, "child") == used else 1)

        assert exit_code(child) == 0
        assert used_whole(target, "once-more") == used

    def test_an_instance_that_was_used_serves_other_threads(self, target: Target) -> None:
        put(target, "a", b"content")
        used = used_whole(target, "before")

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda number: used_whole(target, f"thread-{number}"), range(8)))

        assert found == [used] * 8


class SharedConformance(TargetConformance):
    """For targets that several processes reach at once."""

    def test_of_racing_processes_exactly_one_creates_the_object(self, target: Target) -> None:
        ready, go = os.pipe()

        def race(number: int) -> Callable[[], int]:
            def work() -> int:
                os.close(go)
                os.read(ready, 1)  # returns when the parent closes its end: all start at once
                return 10 if put(target, "d/a", bytes([number]) * 1000) else 11

            return work

        children = [in_child(race(number)) for number in range(RACERS)]
        os.close(go)
        codes = [exit_code(child) for child in children]
        os.close(ready)

        assert sorted(codes) == [10] + [11] * (RACERS - 1)
        assert get(target, "d/a") == bytes([codes.index(10)]) * 1000
        assert names(target) == ["d/a"]

    def test_a_writer_killed_in_the_middle_leaves_nothing_visible(self, target: Target) -> None:
        with killed_putter(target, "containers/r/a", sent=3 * MIB):
            pass

        assert target.stat("containers/r/a") is None
        assert names(target) == []
        with pytest.raises(MissingPiece):
            list(target.read("containers/r/a"))

    def test_after_a_kill_the_same_name_can_be_put(self, target: Target) -> None:
        with killed_putter(target, "containers/r/a", sent=3 * MIB):
            pass

        assert put(target, "containers/r/a", b"second try") is True
        assert get(target, "containers/r/a") == b"second try"

    def test_while_a_writer_is_busy_its_object_is_not_visible(self, target: Target) -> None:
        with killed_putter(target, "containers/r/a", sent=3 * MIB):
            assert target.stat("containers/r/a") is None
            assert names(target) == []

    def test_after_a_sweep_nothing_is_left_to_sweep(self, target: Target) -> None:
        with killed_putter(target, "containers/r/a", sent=3 * MIB):
            pass

        target.abort_incomplete("containers/r/")

        assert target.abort_incomplete("") == 0
        assert names(target) == []

    def test_put_and_read_stream_in_bounded_memory(self, target: Target) -> None:
        chunk = os.urandom(MIB)
        whole = hashlib.sha256(chunk * self.streamed).digest()
        target.put("warm", [b""], size=0, sha256=hashlib.sha256().digest())

        tracemalloc.start()
        try:
            target.put("a", itertools.repeat(chunk, self.streamed), size=self.streamed * MIB, sha256=whole)
            read = hashlib.sha256()
            for piece in target.read("a"):
                read.update(piece)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert read.digest() == whole
        assert peak < self.streamed * MIB / 2


@contextlib.contextmanager
def killed_putter(target: Target, name: str, *, sent: int) -> Iterator[None]:
    """Give a moment in which another process is inside ``put``; then kill it (SIGKILL).

    The child has handed over ``sent`` bytes and blocks on a pipe for the rest.
    """
    reached, tell = os.pipe()
    forever, hold = os.pipe()

    def chunks() -> Iterator[bytes]:
        yield os.urandom(sent)
        os.write(tell, b"x")
        os.read(forever, 1)
        yield b"the rest"

    def work() -> int:
        os.close(hold)  # else the child would keep its own pipe open
        os.close(reached)
        with contextlib.suppress(StrongroomError):
            target.put(name, chunks(), size=sent + 8, sha256=bytes(32))
        return 98

    child = in_child(work)
    os.close(tell)
    try:
        assert os.read(reached, 1) == b"x", "the child never reached the middle of the put"
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        code = exit_code(child)
        for fd in (reached, forever, hold):
            os.close(fd)
    assert code == -signal.SIGKILL
