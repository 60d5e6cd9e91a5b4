"""A process that rotates secrets is killed (SIGKILL) before and after each thing that it does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import SecretRotator
from strongroom.operations.rotation.secrets_job import rotate_secrets, rotated_by
from strongroom.sources import Refuse, SecretChange
from strongroom.sources.local import LocalStore
from tests.operations.rotators.world import (
    OLD,
    REASON,
    command_rotator,
    held,
    random_rotator,
    script,
    services_for,
    store_world,
    values,
)

NAMES = ("prod/a", "prod/b")


def kill_after(calls: int, work: Callable[[Callable[[], None]], None]) -> bool:
    """Do work in a forked process that kills itself at its so manieth call; say if it came to its end."""
    left = iter(range(calls - 1, -1, -1))

    def tell() -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    process = get_context("fork").Process(target=work, args=(tell,))
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


class ToldStore:
    """Passes everything on to a run store, and tells the parent of each call before and after it."""

    def __init__(self, store: object, tell: Callable[[], None]) -> None:
        self._store = store
        self._tell = tell

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def told(*arguments: Any, **options: Any) -> Any:
            self._tell()
            done = found(*arguments, **options)
            self._tell()
            return done

        return told


class ToldSource(LocalStore):
    """Tells of each write before and after it."""

    tell: Callable[[], None]

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        self.tell()
        written = super().write(changes, refuse=refuse)
        self.tell()
        return written


class DyingSource(LocalStore):
    """Whoever writes to it dies just when that is done."""

    def write(self, changes: Iterable[SecretChange], *, refuse: Refuse | None = None) -> int:
        super().write(changes, refuse=refuse)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0


class House:
    """Two secrets, and a program that keeps what it was given."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world, self.store = store_world(folder)
        self.store.import_([held(name) for name in NAMES])

    def rotate(self, rotator: SecretRotator) -> Callable[[Callable[[], None]], None]:
        """Return what a process does from its beginning, which is told of each thing before and after it."""

        def work(tell: Callable[[], None]) -> None:
            source = ToldSource(self.folder, name="local")
            source.tell = tell
            services = services_for(self.world, source, rotator)
            object.__setattr__(services, "store", ToldStore(services.store, tell))
            rotate_secrets(services, NAMES, source="local", reason=REASON)

        return work

    def is_over(self) -> bool:
        """Say whether the rotation has ended; whoever asks for another one from then on gets it."""
        runs = services_for(self.world, self.store, random_rotator()).store.runs()
        return bool(runs) and all(run.state.final for run in runs)

    def given(self) -> list[str]:
        """Return the values that the program got, one a line."""
        file = self.folder / "given"
        return file.read_text().split() if file.exists() else []


def keeps(folder: Path, **more: object) -> SecretRotator:
    """Return a rotator whose program writes down the secret and the value that it was given."""
    line = f'printf "%s=%s\\n" "$ROTATE_SECRET" "$(cat)" >> {folder}/given'
    return command_rotator(script(folder / "set", line), **more)


@pytest.mark.parametrize("every", [5, 8])
def test_killed_again_and_again_each_secret_gets_one_new_value_which_is_the_one_that_was_given(
    tmp_path: Path, every: int
) -> None:
    house = House(tmp_path)
    rotator, lives = keeps(tmp_path), 0
    while not (kill_after(every + 4 * lives, house.rotate(rotator)) or house.is_over()):
        lives += 1
        assert lives < 60
    assert lives >= 3
    for name in NAMES:
        former, new = values(house.store, name)
        assert former == OLD
        given = {line for line in house.given() if line.startswith(f"{name}=")}
        assert given == {f"{name}={new}"}


@pytest.mark.long
def test_killed_once_at_each_moment_nothing_is_rotated_twice_and_nothing_is_lost(tmp_path: Path) -> None:
    ended, moment = False, 0
    while not ended:
        moment += 1
        folder = tmp_path / str(moment)
        folder.mkdir()
        house = House(folder)
        ended = kill_after(moment, house.rotate(keeps(folder))) or house.is_over()
        if not ended:
            assert kill_after(10_000, house.rotate(keeps(folder)))
        services = services_for(house.world, house.store, keeps(folder))
        runs = services.store.runs()
        assert [run.state.final for run in runs] == [True], moment
        assert rotated_by(runs[0], services).done == NAMES
        for name in NAMES:
            assert len(values(house.store, name)) == 2, moment
            given = {line for line in house.given() if line.startswith(f"{name}=")}
            assert given == {f"{name}={values(house.store, name)[-1]}"}, moment
    assert moment > 40


def dead_after_a_write(folder: Path) -> House:
    """Return a house whose rotation died just when the first secret had its new value."""
    house = House(folder)

    def work() -> None:
        services = services_for(house.world, DyingSource(folder, name="local"), random_rotator())
        rotate_secrets(services, NAMES, source="local", reason=REASON)

    process = get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(values(house.store, NAMES[0])) == 2
    return house


def test_what_a_cancelled_rotation_wrote_is_replaced_by_the_next_one(tmp_path: Path) -> None:
    house = dead_after_a_write(tmp_path)
    services = services_for(house.world, house.store, random_rotator())
    [run] = services.store.runs()
    assert not run.state.final
    services.store.cancel(run.id)
    cancelled = rotated_by(drive(run.id, [], services), services)
    assert cancelled.failed == NAMES
    assert cancelled.secrets[0].to_do == (
        "its source may have a new value that nothing else knows: rotate it again",
    )
    assert (cancelled.secrets[1].why, cancelled.secrets[1].to_do) == ("cancelled", ())
    before = [values(house.store, name)[-1] for name in NAMES]
    rotated = rotate_secrets(services, NAMES, source="local", reason=REASON)
    assert rotated.done == NAMES
    assert all(values(house.store, name)[-1] not in (*before, OLD) for name in NAMES)
