"""Shredding killed (SIGKILL) at every moment: never called shredded while it opens, and always finished."""

from __future__ import annotations

from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.services import Services
from strongroom.operations.keys.shred import advance, begin
from strongroom.operations.keys.shred_plan import make_plan
from strongroom.state.store import RunStore
from strongroom.targets.directory import DirectoryTarget
from tests.operations.rotation.test_rotation_killed import Told, kill_after
from tests.operations.shredding.worlds import KeyService, Vault
from tests.operations.world import POLICY, names_on


class TellingStore(RunStore):
    """Tells of each event before and after it is written."""

    tell: Callable[[], None] = staticmethod(lambda: None)

    def event(self, kind: str, run: str | None = None, **detail: Any) -> None:
        self.tell()
        super().event(kind, run, **detail)
        self.tell()


class TellingKeyService(KeyService):
    """Tells before and after a key goes."""

    tell: Callable[[], None] = staticmethod(lambda: None)

    def destroy(self, version: int) -> None:
        self.tell()
        super().destroy(version)
        self.tell()


class House:
    """Two backups to shred, one that needs another key, on two directories."""

    def __init__(self, folder: Path) -> None:
        self.at = Vault(folder, key_service=TellingKeyService)
        self.targets = {name: DirectoryTarget(folder / name, name=name, region=name) for name in ("eu", "us")}
        for target in self.targets.values():
            target.prepare()
        pins = tuple(pin_target(name, target) for name, target in self.targets.items())
        self.at.world = self.at.world.with_targets(self.targets).with_spec(targets=pins)
        self.asked = [self.at.back_up(), self.at.back_up()]
        self.at.current = "k2"
        self.at.rotate(self.asked[1])
        self.at.current = "k3"
        self.kept = self.at.back_up()

    def shred(self, told: Connection) -> None:
        """Begin, or go on where the record says; runs in a process of its own until it is killed."""
        TellingStore.tell = TellingKeyService.tell = staticmethod(lambda: told.send_bytes(b"."))
        services = self.services(told)
        if not self.at.record().backups:
            plan = make_plan(services, self.at.scope(), policy=POLICY, backups=self.asked)
            begin(services, self.at.scope(), plan, by="test")
        advance(services, self.at.scope())
        told.send_bytes(b"end")

    def services(self, told: Connection | None = None) -> Services:
        if told is None:
            return self.at.services()
        targets = {name: Told(target, lambda: told.send_bytes(b".")) for name, target in self.targets.items()}
        return self.at.services(targets=targets, store=TellingStore(self.at.world.database))

    def check(self) -> bool:
        """Hold what is on record to what is true; return whether all is done."""
        record = self.at.record()
        for backup in self.asked:
            found = record.backups.get(backup)
            assert found is not None or (self.at.folder / "k1").exists(), "a key went without an intent"
            opens = any(self.at.opens(backup, target) for target in self.targets.values())
            assert not (found is not None and found.done and opens)
        assert all(self.at.opens(self.kept, target) for target in self.targets.values())
        return bool(record.backups) and not record.pending


def test_killed_again_and_again_it_is_never_called_shredded_too_early_and_is_finished(tmp_path: Path) -> None:
    house, lives = House(tmp_path), 0
    while not kill_after(1 + lives % 6, house.shred):
        house.check()
        lives += 1
        assert lives < 100
    assert lives >= 8
    assert house.check()
    assert not (house.at.folder / "k1").exists()
    assert not (house.at.folder / "k2").exists(), "the second one's newer generation was under that"
    for target in house.targets.values():
        assert not [name for name in names_on(target) if any(one in name for one in house.asked)]
