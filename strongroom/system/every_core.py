"""Work on several things at once, each core on one of them, with the results and errors of one process.

A child is a fork: it finds everything that the work needs already there, opened keys among it, and inherits
the guards of its parent (no core dump, no look from beside, signals held off). What it hands back goes
through a pipe of its own, in parts that the work makes: digests, counts, rows, sealed bytes, never a value.

A child decides nothing. What fails there, and what a child was at that was killed, is done once more by the
parent, from the part on that did not come. So an error has the type, the words and the place in the order
that it has on one core, a child that the kernel killed for want of memory costs time alone, and one core is
the case where the parent does all of it.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from fcntl import LOCK_EX, LOCK_UN, lockf
from io import FileIO
from itertools import chain, islice
from queue import Queue
from selectors import EVENT_READ, DefaultSelector
from struct import Struct
from threading import Thread, Timer
from typing import IO, Generic, NoReturn, TypeVar

from strongroom.system.process import cores, die_with_parent, may_fork, uncollected, uninterrupted

T = TypeVar("T")
Work = Callable[[T], Iterator[bytes]]
"""What is done with an item: it yields what comes of it in parts, the same ones whenever it is asked."""

AHEAD = 4
"""Parts that a child keeps until its parent reads: the pipe holds little of one."""
_FRAME = Struct(">BIQ")
_NUMBER = Struct(">I")
_BEGUN, _PART, _DONE, _FAILED = range(4)


# -- Whether more processes than this one pay ---------------------------------------------------


_has_its_share = False


def begin_as_child(parent: int) -> None:
    """End with the parent, and fork no further: this process is one of several that share the cores."""
    global _has_its_share  # noqa: PLW0603 - a fact about this process
    die_with_parent(parent)
    _has_its_share = True


def _may_share() -> bool:
    """Tell whether this process may fork. A thread may hold a lock that a child would wait for for ever. Not
    so those that draw a screen (daemons), or only wait for a time."""
    here = threading.current_thread()
    others = [thread for thread in threading.enumerate() if thread is not here]
    alone = all(thread.daemon or isinstance(thread, Timer) for thread in others)
    return here is threading.main_thread() and alone and may_fork() and not _has_its_share


# -- The items, spread over children that take the next one themselves --------------------------


class Spread(Generic[T]):
    """Items that children work on from now on. It is to be closed.

    Args:
        most: children at most; one a core, if left out.
        fewest: below so many, no child is started, and the parent works as it is asked.
        ahead: parts that each child keeps until they are read.
    """

    def __init__(
        self, work: Work[T], items: Sequence[T], *, most: int = 0, fewest: int = 2, ahead: int = AHEAD
    ) -> None:
        self._work = work
        self._items = items
        self._children: list[_Child] = []
        processes = min(most or cores(), len(items)) if _may_share() else 0
        if processes >= fewest:
            self._start(processes, ahead)

    @property
    def processes(self) -> list[int]:
        """The children's ids."""
        return [child.process for child in self._children]

    def _start(self, processes: int, ahead: int) -> None:
        """Start children, or none if the system has not enough of something."""
        try:
            with _nameless_file() as numbers:
                _put(numbers, len(self._items))
                with uninterrupted():
                    for _ in range(processes):
                        self._children.append(self._fork(numbers.fileno(), ahead))
        except OSError:
            self.close()
        except BaseException:
            self.close()
            raise

    def in_order(self) -> Iterator[bytes]:
        """Yield the parts of each item in turn. A child that is further waits with what it has."""
        for number, item in enumerate(self._items):
            given, done = 0, False
            if (child := self._child_at(number)) is not None:
                while (frame := child.read())[0] == _PART:
                    given += 1
                    yield frame[1]
                done = frame[0] == _DONE
            if not done:
                yield from islice(self._work(item), given, None)

    def as_they_come(self) -> Iterator[bytes]:
        """Yield the parts of all items, those of one item in their order, and of several in none."""
        given: Counter[int] = Counter()
        done = set[int]()
        for child, kind, part in _frames(self._children):
            if kind == _PART:
                given[child.number] += 1
                yield part
            elif kind == _DONE:
                done.add(child.number)
        for number, item in enumerate(self._items):
            if number not in done:
                yield from islice(self._work(item), given[number], None)

    def _child_at(self, number: int) -> _Child | None:
        """Return the child that works on an item, once one has begun it; ``None`` if it is lost."""
        behind = [child for child in self._children if child.number < number]
        here = [child for child in self._children if child.number == number]
        reached = (child for child, _, _ in _frames(behind, until=number) if child.number == number)
        return next(chain(here, reached), None)

    def close(self) -> None:
        """End the children, whatever they are doing."""
        with uninterrupted():  # or some would be left, to whoever goes on after Ctrl-C
            for child in self._children:
                child.pipe.close()
                with suppress(ProcessLookupError):
                    os.kill(child.process, signal.SIGKILL)
            for child in self._children:
                # Wait until it has ended, unless nobody may: where SIGCHLD is ignored the kernel does.
                with suppress(ChildProcessError):
                    os.waitpid(child.process, 0)
            self._children.clear()

    # -- a child -------------------------------------------------------------------------

    def _fork(self, numbers: int, ahead: int) -> _Child:
        reading, writing = os.pipe()
        parent = os.getpid()
        try:
            process = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            raise
        if not process:
            self._serve(numbers, writing, ahead, parent)
        os.close(writing)
        return _Child(process, FileIO(reading))

    def _serve(self, numbers: int, writing: int, ahead: int, parent: int) -> NoReturn:
        try:
            begin_as_child(parent)
            queue: Queue[tuple[bytes, bytes]] = Queue(ahead)
            # The parent reads late: work goes on meanwhile.
            writer = Thread(target=_write, args=(writing, queue))
            writer.start()
            with uncollected():
                for number in _taken(numbers):
                    self._work_on(number, queue)
            queue.put((b"", b""))
            writer.join()
        finally:
            os._exit(0)  # no exception, exit handler or buffer of the parent's may run here

    def _work_on(self, number: int, queue: Queue[tuple[bytes, bytes]]) -> None:
        queue.put((_FRAME.pack(_BEGUN, number, 0), b""))
        end = _DONE
        try:
            for part in self._work(self._items[number]):
                queue.put((_FRAME.pack(_PART, number, len(part)), part))
        except BaseException:  # noqa: BLE001 - the parent meets it when it does the same
            end = _FAILED
        queue.put((_FRAME.pack(end, number, 0), b""))


def _put(numbers: IO[bytes], many: int) -> None:
    """Write the items' numbers for children to take."""
    numbers.write(b"".join(map(_NUMBER.pack, range(many))))
    numbers.seek(0)


def _taken(numbers: int) -> Iterator[int]:
    """Yield the numbers that nobody else has taken.

    All children share the file's position, so whoever reads a number has taken it; one at a time, since the
    kernel lets several read the same bytes of a file in memory. A lock goes with the process that has it.
    """
    while True:
        lockf(numbers, LOCK_EX)
        try:
            number = os.read(numbers, _NUMBER.size)
        finally:
            lockf(numbers, LOCK_UN)
        if not number:
            return
        yield _NUMBER.unpack(number)[0]


def _nameless_file() -> IO[bytes]:
    """Return an open file that goes with those who have it open; not every Python can make one in memory."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("items"), "w+b", buffering=0)
    from tempfile import TemporaryFile  # noqa: PLC0415 - few need it, and it takes some time

    return TemporaryFile(buffering=0)


def in_order(work: Work[T], items: Sequence[T]) -> Generator[bytes]:
    """Yield what comes of each item, one item after the other, worked on by every core."""
    with closing(Spread(work, items)) as spread:
        yield from spread.in_order()


def as_they_come(work: Work[T], items: Sequence[T]) -> Generator[bytes]:
    """Yield what comes of all items, in whatever order, worked on by every core."""
    with closing(Spread(work, items)) as spread:
        yield from spread.as_they_come()


class _Child:
    """A child, and the pipe that it hands its parts through. ``number`` is the item that it is at."""

    def __init__(self, process: int, pipe: FileIO) -> None:
        self.process = process
        self.pipe = pipe
        self.number = -1
        self.is_over = False

    def read(self) -> tuple[int, bytes]:
        """Wait for the next frame. One that ended, or was ended, has failed at what it was at."""
        head = self._exactly(_FRAME.size)
        if head is not None:
            kind, self.number, length = _FRAME.unpack(head)
            if (part := self._exactly(length)) is not None:
                return kind, part
        self.is_over = True
        return _FAILED, b""

    def _exactly(self, length: int) -> bytes | None:
        data = bytearray(length)
        rest = memoryview(data)
        while rest:
            if not (count := self.pipe.readinto(rest)):
                return None
            rest = rest[count:]
        return bytes(data)


def _frames(children: Iterable[_Child], until: int = sys.maxsize) -> Iterator[tuple[_Child, int, bytes]]:
    """Yield frames as children have them, of each until it ended or is at an item."""
    with DefaultSelector() as waiting:
        for child in children:
            waiting.register(child.pipe, EVENT_READ, child)
        while waiting.get_map():
            for ready, _ in waiting.select():
                child = ready.data
                yield child, *child.read()
                if child.is_over or child.number >= until:
                    waiting.unregister(ready.fileobj)


def _write(writing: int, queue: Queue[tuple[bytes, bytes]]) -> None:
    try:
        with FileIO(writing, "w") as pipe:
            while (frame := queue.get())[0]:
                for data in frame:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[pipe.write(rest) :]
    except BaseException:  # noqa: BLE001 - nobody reads any more, and the work would wait for ever
        os._exit(1)
