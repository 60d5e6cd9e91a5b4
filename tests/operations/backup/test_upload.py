"""What is said where a target does not give back what it was given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.operations.backup.commit import place
from strongroom.targets.memory import MemoryTarget

CONTENT = b"CANARY" * 10
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Garbling(MemoryTarget):
    """Gives back other bytes than it was given."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:  # noqa: ARG002
        yield b"<html>Log in to the guest network</html>"


class Portal(Garbling):
    """Answers every request with good cheer, and does nothing."""

    def delete(self, name: str) -> None:
        pass


@pytest.mark.parametrize(
    ("target", "said"), [(Garbling(), "the copy was removed"), (Portal(), "and still shows one")]
)
def test_a_copy_is_only_called_removed_if_the_target_shows_none_any_more(
    target: MemoryTarget, said: str
) -> None:
    with pytest.raises(VerificationFailed, match=said) as caught:
        place(target, "a", lambda: [CONTENT], size=len(CONTENT), sha256=SHA256)
    assert ("was removed" in caught.value.message) is (target.stat("a") is None)
