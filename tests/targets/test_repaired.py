"""A damaged object that cannot be replaced gets a whole copy beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from strongroom.container.errors import Malformed, MissingPiece, Tampered, VerificationFailed
from strongroom.container.signing import verify
from strongroom.model import ObjectInfo
from strongroom.plugins.conformance.targets import MIB, get, names, put
from strongroom.targets import is_name
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.reading import (
    LIMIT,
    MOST_BYTES,
    original_name,
    put_beside,
    repair_names,
    sound_copy,
    whole_copy,
)

GOOD = b"CANARY-good"
SHA256 = hashlib.sha256(GOOD).digest()
NAME = "containers/20261125T024501Z-3f9a0c1d/" + "ab" * 32


def beside(target: MemoryTarget) -> str:
    return put_beside(target, NAME, lambda: [GOOD], size=len(GOOD), sha256=SHA256)


def test_a_whole_object_is_its_own_whole_copy() -> None:
    target = MemoryTarget()
    put(target, NAME, GOOD)

    assert whole_copy(target, NAME, sha256=SHA256) == NAME


def test_beside_a_damaged_object_its_repair_is_found() -> None:
    target = MemoryTarget()
    put(target, NAME, b"damaged")

    assert whole_copy(target, NAME, sha256=SHA256) is None
    assert beside(target) == f"{NAME}.r1"
    assert whole_copy(target, NAME, sha256=SHA256) == f"{NAME}.r1"
    assert get(target, NAME) == b"damaged"  # locked: it stays as it lies


def test_a_second_repair_finds_the_first_and_puts_nothing() -> None:
    target = MemoryTarget()
    put(target, NAME, b"damaged")
    beside(target)

    assert beside(target) == f"{NAME}.r1"
    assert names(target) == [NAME, f"{NAME}.r1"]


def test_a_damaged_repair_is_repaired_beside_it() -> None:
    target = MemoryTarget()
    put(target, NAME, b"damaged")
    put(target, f"{NAME}.r1", b"damaged too")

    assert beside(target) == f"{NAME}.r2"
    assert whole_copy(target, NAME, sha256=SHA256) == f"{NAME}.r2"


class Endless(MemoryTarget):
    """A target that gives one object without end."""

    given = 0

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if name != NAME:
            return super().read(name, offset=offset, length=length)
        return self._pour()

    def _pour(self) -> Iterator[bytes]:
        yield b'{"format":"strongroom-'
        while True:
            self.given += MIB
            yield bytes(MIB)


def test_what_is_read_whole_has_a_limit_and_the_next_copy_counts() -> None:
    target = Endless()
    put(target, NAME, b"damaged")
    put(target, f"{NAME}.r1", GOOD)

    assert sound_copy(target, NAME, lambda content: content) == GOOD
    assert target.given <= MOST_BYTES + MIB


class Unlisted(MemoryTarget):
    """A target of which no listing is to be had."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise TargetUnavailable(f"CANARY: listed {prefix}")


def test_repairs_are_looked_for_only_when_the_object_itself_will_not_do() -> None:
    target = Unlisted()
    put(target, NAME, GOOD)

    assert sound_copy(target, NAME, lambda content: content) == GOOD
    with pytest.raises(TargetUnavailable, match="listed"):
        sound_copy(target, NAME, refuse)


def refuse(content: bytes) -> bytes:
    raise Malformed(f"refused {content!r}")


def test_of_a_missing_object_the_repair_counts_and_is_what_a_refusal_is_about() -> None:
    target = MemoryTarget()
    with pytest.raises(MissingPiece):
        sound_copy(target, NAME, lambda content: content)

    put(target, f"{NAME}.r1", GOOD)
    assert sound_copy(target, NAME, lambda content: content) == GOOD
    with pytest.raises(Malformed, match="good"):
        sound_copy(target, NAME, refuse)


def test_of_several_copies_the_first_refusal_is_told() -> None:
    target = MemoryTarget()
    put(target, NAME, b"first")
    put(target, f"{NAME}.r1", b"second")
    with pytest.raises(Malformed, match="first"):
        sound_copy(target, NAME, refuse)


def test_repairs_come_to_an_end() -> None:
    target = MemoryTarget()
    for name in (NAME, *repair_names(NAME)):
        put(target, name, b"damaged")

    with pytest.raises(VerificationFailed):
        beside(target)


def test_a_repairs_name_leads_back_to_its_original() -> None:
    repairs = list(repair_names(NAME))

    assert len(repairs) == LIMIT
    assert all(map(is_name, repairs))
    assert {original_name(name) for name in (NAME, *repairs)} == {NAME}
    assert original_name(f"{NAME}.r0") == f"{NAME}.r0"
    assert original_name("manifests/a.json") == "manifests/a.json"


def test_what_is_wrong_with_the_object_itself_is_said_whatever_lies_beside_it() -> None:
    target = MemoryTarget()
    put(target, NAME, b"another's")
    put(target, f"{NAME}.r1", b"garbage")

    def missed(content: bytes) -> bytes:
        raise Malformed("garbage") if content == b"garbage" else MissingPiece("it belongs to another backup")

    with pytest.raises(MissingPiece, match="another backup"):
        sound_copy(target, NAME, missed)


def test_a_signature_that_does_not_fit_says_of_which_object_and_what_should_have_been_signed() -> None:
    """ "A signature does not fit what it signs" left open which of thousands of objects was changed."""
    target = MemoryTarget()
    put(target, "manifests/a.json", b'{"format":"strongroom-manifest","x":1}\n')

    def parse(content: bytes) -> None:
        verify(bytes(32), b"strongroom/v1/manifest", content, bytes(64))

    with pytest.raises(Tampered, match=r"'manifests/a.json': The signature of the manifest does not fit"):
        sound_copy(target, "manifests/a.json", parse)
