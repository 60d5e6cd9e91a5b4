"""An object that is read whole and then in ranges is fetched once."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.plugins.conformance.targets import put
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import ReadOnce

CONTENT = bytes(range(200))


class Counting(MemoryTarget):
    """Counts the bytes that it gives."""

    given = 0

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in super().read(name, offset=offset, length=length):
            self.given += len(chunk)
            yield chunk


def made(*, most: int = 1000) -> tuple[Counting, ReadOnce]:
    target = Counting()
    put(target, "a", CONTENT)
    return target, ReadOnce(target, most=most)


def read(once: ReadOnce, **of: int) -> bytes:
    return b"".join(once.read("a", **of))


def test_what_was_read_whole_is_given_again_from_memory_in_any_range() -> None:
    target, once = made()
    assert read(once, length=201) == CONTENT
    assert (read(once, offset=10, length=5), read(once, offset=190)) == (CONTENT[10:15], CONTENT[190:])
    assert read(once, offset=500, length=5) == b""
    assert target.given == 200


def test_a_part_is_not_taken_for_the_whole() -> None:
    target, once = made()
    assert read(once, length=200) == CONTENT  # there may be more
    assert (read(once, length=201), target.given) == (CONTENT, 400)


def test_what_is_too_large_to_remember_is_read_each_time() -> None:
    target, once = made(most=100)
    assert (read(once, length=201), read(once, offset=199, length=1)) == (CONTENT, CONTENT[199:])
    assert target.given == 201
