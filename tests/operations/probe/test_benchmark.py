"""Measuring: what is sealed and carried, and that no target keeps anything of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from strongroom.container.errors import VerificationFailed
from strongroom.errors import StrongroomError, TargetError, UsageError
from strongroom.operations.archive.open import backup_ids
from strongroom.operations.checks.benchmark import measure, require_removable
from strongroom.operations.checks.probe import own_name
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import made_up, names_on

SECRETS = made_up(40)
BYTES = 700
"""Some ten secrets a container."""


class Watched(MemoryTarget):
    """Remembers the names that were put, and looks whether what was put shows a value."""

    def __init__(self, name: str = "watched") -> None:
        super().__init__(name=name)
        self.names: list[str] = []

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        content = b"".join(bytes(chunk) for chunk in chunks)
        assert b"CANARY" not in content
        assert backup_ids(self) == []
        self.names.append(name)
        return super().put(name, [content], size=size, sha256=sha256)


class Failing(Watched):
    """Fails at its n-th put, with the object in place or without."""

    def __init__(self, at: int, error: BaseException, *, late: bool = False) -> None:
        super().__init__("failing")
        self._at, self._error, self._late = at, error, late

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        fails = len(self.names) == self._at
        if fails and not self._late:
            raise self._error
        created = super().put(name, chunks, size=size, sha256=sha256)
        if fails:
            raise self._error
        return created


class Lying(Watched):
    """Gives back other bytes than it was given."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        for chunk in super().read(name, offset=offset, length=length):
            yield bytes(len(chunk))


class Keeping(Watched):
    """Deletes nothing."""

    def delete(self, name: str) -> None:
        raise TargetLocked(f"'{name}' is locked")


class Hiding(Watched):
    """Keeps a hidden version of what is deleted, or does not tell."""

    def __init__(self, hides: int | None) -> None:
        super().__init__("hiding")
        self._hides = hides

    def purge(self, prefix: str) -> int | None:  # noqa: ARG002 - the Protocol's
        return self._hides


class Untold(Watched):
    """Refuses to say what it hides."""

    def purge(self, prefix: str) -> int | None:  # noqa: ARG002 - the Protocol's
        raise TargetError("this credential may not list versions")


class Locked(MemoryTarget):
    """Set up to lock what is put on it."""

    locks = True

    def extend_lock(self, name: str, until: datetime) -> datetime:  # noqa: ARG002 - the Protocol's
        return until

    def locked_until(self, name: str) -> datetime | None:  # noqa: ARG002 - the Protocol's
        return None


def test_every_secret_is_sealed_in_bounded_containers_and_each_goes_to_every_target_and_back() -> None:
    targets = [Watched("eu"), Watched("us")]
    done: list[int] = []
    found = measure(SECRETS, targets, container_bytes=BYTES, progress=done.append)

    assert (found.sealing.secrets, found.versions, found.containers) == (40, 40, len(done))
    assert sum(done) == 40
    assert max(done) < 20
    assert [carried.pace.size for carried in found.targets] == [found.sealing.size] * 2
    assert [carried.error for carried in found.targets] == [None, None]
    assert all(carried.pace.seconds > 0 for carried in found.targets)
    for target in targets:
        assert len(target.names) == found.containers + 1
        assert {name.partition("/")[0] for name in target.names} == {"probes"}
        assert names_on(target) == []


def test_the_secrets_are_taken_as_they_are_needed() -> None:
    carried = Watched()
    ahead: list[int] = []

    def streamed() -> Iterator[object]:
        for number, secret in enumerate(SECRETS):
            ahead.append(number - 10 * len(carried.names))
            yield secret

    measure(streamed(), [carried], container_bytes=BYTES)  # type: ignore[arg-type]
    assert max(ahead) <= 20


def test_without_targets_sealing_alone_is_measured() -> None:
    found = measure(SECRETS, [], container_bytes=BYTES)
    assert found.targets == ()
    assert found.sealing.secrets_per_second > 0
    assert found.sealing.megabytes_per_second > 0


@pytest.mark.parametrize("late", [False, True], ids=["nothing put", "put, and the answer lost"])
def test_a_target_that_fails_half_way_is_cleaned_up_and_holds_up_no_other(late: bool) -> None:
    failing = Failing(2, TargetUnavailable("gone"), late=late)
    good = Watched("good")
    found = measure(SECRETS, [failing, good], container_bytes=BYTES)

    bad, other = found.targets
    assert isinstance(bad.error, TargetUnavailable)
    assert (other.error, other.pace.size) == (None, found.sealing.size)
    assert len(good.names) > len(failing.names)
    assert names_on(failing) == names_on(good) == []


@pytest.mark.parametrize("at", [0, 2])
def test_an_interruption_leaves_nothing(at: int) -> None:
    target = Failing(at, KeyboardInterrupt(), late=True)
    with pytest.raises(KeyboardInterrupt):
        measure(SECRETS, [target], container_bytes=BYTES)
    assert len(target.names) == at + 1
    assert names_on(target) == []


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), TargetUnavailable("gone")], ids=["asked to end", "gone"]
)
def test_what_cannot_be_removed_after_a_failure_is_named_beside_it(error: BaseException) -> None:
    class Stuck(Failing):
        def delete(self, name: str) -> None:
            if len(self.names) > 1:
                raise TargetUnavailable("gone as well")
            super().delete(name)

    target = Stuck(1, error, late=True)
    if isinstance(error, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            measure(SECRETS, [target], container_bytes=BYTES)
    else:
        assert measure(SECRETS, [target], container_bytes=BYTES).targets[0].error is error
    [left] = names_on(target)
    assert left in error.__notes__[0]


def test_a_target_that_gives_back_other_bytes_is_not_measured() -> None:
    target = Lying()
    [carried] = measure(SECRETS, [target], container_bytes=BYTES).targets
    assert isinstance(carried.error, VerificationFailed)
    assert carried.pace.size == 0
    assert names_on(target) == []


def test_one_that_deletes_nothing_gets_something_small_alone_and_the_object_is_named() -> None:
    target = Keeping()
    [carried] = measure(SECRETS, [target], container_bytes=BYTES).targets
    assert isinstance(carried.error, TargetLocked)
    [left] = names_on(target)
    assert left in carried.error.message
    assert target.stat(left).size == 1024  # type: ignore[union-attr]


def test_one_that_only_hides_what_is_deleted_gets_something_small_alone() -> None:
    target = Hiding(1)
    [carried] = measure(SECRETS, [target], container_bytes=BYTES).targets
    assert isinstance(carried.error, TargetLocked)
    assert len(target.names) == 1


@pytest.mark.parametrize("target", [Hiding(None), Untold()], ids=["untold", "refused"])
def test_one_that_does_not_tell_what_it_hides_is_measured_and_that_is_said(target: Target) -> None:
    [carried] = measure(SECRETS, [target], container_bytes=BYTES).targets
    assert (carried.error, carried.hidden) == (None, None)


def test_what_a_killed_one_left_is_removed_an_hour_later_and_a_living_ones_stays() -> None:
    target = Watched()
    old, new = own_name(datetime.now(UTC) - timedelta(hours=2)), own_name(datetime.now(UTC))
    for name in (old, new):
        target._objects[name] = b"sealed"
    measure(SECRETS, [target], container_bytes=BYTES)
    assert names_on(target) == [new]


def test_a_target_that_locks_is_refused_and_the_others_are_named() -> None:
    free, locked = MemoryTarget(name="free"), Locked(name="vaulted")
    require_removable([free])
    with pytest.raises(UsageError) as caught:
        require_removable([free, locked])
    assert "'vaulted' is locked" in caught.value.message
    assert "--target free" in caught.value.hint
    assert isinstance(caught.value, StrongroomError)
    with pytest.raises(UsageError) as alone:
        require_removable([locked])
    assert "--target" not in alone.value.hint
