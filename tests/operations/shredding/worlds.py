"""What tests of shredding share: a world whose keys are kept by a key service that can destroy them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from strongroom.container.wrapping import Identity
from strongroom.errors import StrongroomError
from strongroom.keys.destroying import Fate, KeyVersionState
from strongroom.keys.destroying.services import FileDestroyer
from strongroom.keys.keyfile import TYPE, KeyFileIdentity, KeyFileRecipient, generate_key_file, load_key_file
from strongroom.operations.archive.key_versions import ErasurePolicy, ShredScope
from strongroom.operations.archive.open import open_backup
from strongroom.operations.archive.shredding import Shredding, ShreddingRecord, read
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_recipient
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.keys.shred import advance, begin
from strongroom.operations.keys.shred_plan import make_plan
from strongroom.operations.rotation.job import submit_rotation
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import Run
from strongroom.system.errors import KeyFileUnreadable
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, World, make_world


class KeyService(FileDestroyer):
    """Keeps a key where nobody else has a copy, so that its destruction can be proven."""

    def look(self, version: int) -> KeyVersionState:
        return msgspec.structs.replace(super().look(version), doubts=())


class Waiting(KeyService):
    """One that deletes on a day of its own choosing, as KMS does."""

    day = "2026-12-03T00:00:00Z"
    asked = False

    def look(self, version: int) -> KeyVersionState:
        found = super().look(version)
        if self.asked and found.fate is Fate.THERE:
            return msgspec.structs.replace(found, fate=Fate.PENDING, until=self.day)
        return found

    def destroy(self, version: int) -> None:
        del version
        self.asked = True

    def day_comes(self) -> None:
        super().destroy(0)


class Locked(MemoryTarget):
    """Locks what lies on it until a day."""

    until = datetime(2027, 1, 1, tzinfo=UTC)
    locks = True
    locked = False

    def extend_lock(self, name: str, until: datetime) -> datetime:
        del name, until
        return self.until

    def locked_until(self, name: str) -> datetime | None:
        del name
        return self.until if self.locked else None

    def delete(self, name: str) -> None:
        if self.locked:
            raise TargetLocked(f"{name} is locked")
        super().delete(name)


class Vault:
    """A folder of keys, a world that seals for one of them, and what shreds its backups."""

    def __init__(self, folder: Path, *, key_service: type[FileDestroyer] = KeyService) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.world: World = make_world(folder)
        self.keys: dict[str, FileDestroyer] = {}
        self.current = "k1"
        self.hold = ""
        for name in ("k1", "k2", "k3"):
            generate_key_file(folder / name)
            self.keys[name] = self.key_service(name, folder / name, kind=key_service)

    def key_service(self, name: str, path: Path, *, kind: type[FileDestroyer] = KeyService) -> FileDestroyer:
        """Return what keeps a key at a place."""
        return kind(name, path, type=TYPE, public=partial(self.public, name), load=load)

    def public(self, name: str) -> str:
        return self.recipient(name).fingerprint

    def recipient(self, name: str) -> KeyFileRecipient:
        return KeyFileRecipient(load_key_file(self.folder / name), label=name)

    def scope(self, **changed: object) -> ShredScope:
        policy = ErasurePolicy(erasable=True, legal_hold=self.hold, seals_for=frozenset({self.current}))
        return msgspec.structs.replace(
            ShredScope(confirmers=self.confirmers, policies={POLICY: policy}, destroyers=self.keys),
            **changed,
        )

    def record(self) -> ShreddingRecord:
        """Return what is on record, as whoever finishes believes it."""
        return read(self.services().store, self.confirmers)

    @property
    def confirmers(self) -> frozenset[str]:
        return frozenset({self.world.installation.fingerprint})

    def identities(self) -> Sequence[KeyFileIdentity]:
        found: list[KeyFileIdentity] = []
        for name in self.keys:
            with suppress(KeyFileUnreadable, FileNotFoundError):  # gone, or killed while it was overwritten
                found.append(KeyFileIdentity(load_key_file(self.folder / name)))
        return found

    def services(self, **changed: object) -> Services:
        recipient = self.recipient(self.current)
        spec = self.world.with_spec(recipients=(pin_recipient(self.current, recipient),)).spec
        return self.world.services(
            pinned=lambda _: Pinned(spec=spec, recipients=(recipient,)),
            identities=self.identities,
            signer_fingerprints=frozenset({self.world.installation.fingerprint}),
            **changed,
        )

    def back_up(self) -> str:
        return self.world.back_up(self.services()).id

    def rotate(self, *backups: str, **asked: bool) -> Run:
        options = RotateOptions(backups=backups, **asked)
        services = self.services()
        run, tickets = submit_rotation(services, policy=POLICY, options=options)
        return drive(run, tickets, services, processes=1)

    def shred(self, *backups: str, services: Services | None = None) -> dict[str, Shredding]:
        """Plan, begin and go as far as it goes."""
        services = services or self.services()
        self.begin(*backups, services=services)
        return self.go_on(services)

    def begin(self, *backups: str, services: Services | None = None) -> None:
        """Plan and begin: the intent is on record, and nothing is destroyed."""
        services = services or self.services()
        plan = make_plan(services, self.scope(), policy=POLICY, backups=backups)
        begin(services, self.scope(), plan, by="test")

    def go_on(self, services: Services | None = None, *, now: float | None = None) -> dict[str, Shredding]:
        services = services or self.services()
        advance(services, self.scope(), now=now)
        return self.record().backups

    def with_target(self, name: str, target: Target) -> None:
        self.world = replace(self.world, targets={**self.world.targets, name: target})

    def opens(self, backup: str, target: Target) -> bool:
        services = self.services()
        try:
            found = open_backup(
                target, backup, identities=self.identities(), trusted=services.signer_fingerprints
            )
            return sum(1 for _ in found.secrets()) > 0
        except StrongroomError:
            return False


def load(path: Path) -> Identity:
    return KeyFileIdentity(load_key_file(path))
