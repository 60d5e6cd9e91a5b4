"""A rotation over 200 backups, killed (SIGKILL) again and again: every backup opens throughout."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from strongroom.container.errors import WrongKey
from strongroom.container.manifest import Manifest
from strongroom.keys import Identity
from strongroom.operations.archive.open import Backup, read_manifest
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.layout import container_name
from strongroom.operations.engine.services import Services
from strongroom.operations.rotation.job import submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import RunState
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from tests.operations.many import enter, make_backup, place
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY

BACKUPS, SEED = 200, 7


class Told:
    """Passes everything on to a target, and tells the parent of each call before and after it."""

    def __init__(self, target: Target, tell: Callable[[], None]) -> None:
        self._target = target
        self._tell = tell

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        return getattr(self._target, name)

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self._tell()
        done = self._target.put(name, chunks, size=size, sha256=sha256)
        self._tell()
        return done

    def delete(self, name: str) -> None:
        self._tell()
        self._target.delete(name)
        self._tell()


class House:
    """Backups on two directories, sealed for the old key."""

    def __init__(self, folder: Path, backups: int) -> None:
        self.at, self._backups = Rotated(folder), backups
        self.targets = {name: DirectoryTarget(folder / name, name=name, region=name) for name in ("eu", "us")}
        for target in self.targets.values():
            target.prepare()
        pins = tuple(pin_target(name, target) for name, target in self.targets.items())
        self.at.world = replace(self.at.world, targets=self.targets).with_spec(targets=pins)
        self.manifests = list(self._made())

    def _made(self) -> Iterator[Manifest]:
        signers = (self.at.world.signers["control"], self.at.world.signers["seal"])
        made = [
            make_backup(
                number, recipients=[self.at.old.recipient()], spec=self.at.world.spec, signers=signers
            )
            for number in range(self._backups)
        ]
        for manifest, objects in made:
            for target in self.targets.values():
                place(objects, target)
            yield manifest
        enter(self.at.world.services().store, made)

    def services(self, **changed: object) -> Services:
        return self.at.services(self.at.old, self.at.new, **changed)

    def rotate(self, told: Connection, *, reencrypt: bool = False) -> None:
        """Take over what a dead process began; runs in a process of its own until it is killed."""

        targets = {name: Told(target, partial(tell, told)) for name, target in self.targets.items()}
        services = self.services(targets=targets)
        options = RotateOptions(reencrypt=reencrypt)
        run, tickets = submit_rotation(services, policy=POLICY, options=options, take_over=True)
        drive(run, tickets, services, processes=1)
        told.send_bytes(b"end")

    def openable(self, *identities: Identity) -> int:
        """Count the replicas that somebody with these keys opens."""
        return sum(
            self._opens(target, manifest, identities)
            for manifest in self.manifests
            for target in self.targets.values()
        )

    def _opens(self, target: Target, manifest: Manifest, identities: tuple[Identity, ...]) -> bool:
        backup = Backup(target, manifest, identities, trusted=self.at.trusted)
        try:
            return sum(1 for _ in backup.container(manifest.containers[0]).secrets()) == 1
        except WrongKey:
            return False


def tell(told: Connection) -> None:
    """Tell of a call of the only thread, and wait until it is heard: else it is killed far ahead."""
    told.send_bytes(b".")
    told.recv_bytes()


def kill_after(calls: int, work: Callable[[Connection], None]) -> bool:
    """Run ``work`` in a forked process and kill it after so many calls; say if it came to its end."""
    ours, theirs = get_context("fork").Pipe()
    process = get_context("fork").Process(target=work, args=(theirs,))
    process.start()
    theirs.close()
    ended = False
    try:
        for _ in range(calls):
            ended = ours.recv_bytes() == b"end" or ended
            ours.send_bytes(b".")
    except (EOFError, OSError):  # it has ended
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    ours.close()
    return ended


@pytest.mark.parametrize("kills", [6, pytest.param(20, marks=pytest.mark.long)])
def test_killed_again_and_again_every_backup_opens_throughout_and_a_rerun_finishes(
    tmp_path: Path, kills: int
) -> None:
    house, chance = House(tmp_path, BACKUPS), random.Random(SEED)
    whole = BACKUPS * len(house.targets)
    rotated = []
    for _ in range(kills):
        # 200 backups, two targets, told twice a put: some forty calls a life, and one to spare.
        ended = kill_after(chance.randrange(10, 60), house.rotate)
        assert not ended
        assert house.openable(house.at.old, house.at.new) == whole
        rotated.append(house.openable(house.at.new))
    assert 0 < rotated[0] < rotated[-1] < whole
    services = house.services()
    [going] = [run.id for run in services.store.runs() if not run.state.final]
    assert drive(going, [], services, processes=1).state is RunState.DONE
    assert house.openable(house.at.new) == whole
    assert house.openable(house.at.old) == 0


def test_killed_while_sealing_anew_there_is_always_a_whole_backup_and_nothing_half_made_stays(
    tmp_path: Path,
) -> None:
    house, chance = House(tmp_path, 12), random.Random(SEED)
    whole = 12 * len(house.targets)
    for _ in range(8):
        # Twelve backups, two targets, a container and a manifest, told twice a put: twelve calls a life.
        ended = kill_after(chance.randrange(2, 14), lambda told: house.rotate(told, reencrypt=True))
        assert not ended
        assert house.openable(house.at.old) == whole
    services = house.services()
    [going] = [run.id for run in services.store.runs() if not run.state.final]
    assert drive(going, [], services, processes=1).state is RunState.DONE
    for target in house.targets.values():
        for old in house.manifests:
            new = read_manifest(target, f"{old.backup_id}-r1", trusted=house.at.trusted)
            lying = {info.name for info in target.list(f"containers/{new.backup_id}/")}
            assert lying == {container_name(new.backup_id, entry.sha256) for entry in new.containers}
            assert house.at.opened(new.backup_id, target, house.at.new) == 1
