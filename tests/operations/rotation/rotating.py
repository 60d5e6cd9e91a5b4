"""What tests of rotation share: a world with an old and a new key, and targets that count."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from strongroom.container.wrapping import Recipient, Stanza
from strongroom.keys import Identity
from strongroom.keys.keyfile import KeyFileIdentity, KeyFileRecipient
from strongroom.model import Secret
from strongroom.operations.archive.open import open_backup, read_manifest
from strongroom.operations.engine.integrity import pin_recipient, pin_target
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.targets import Target
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import make_world

MANIFEST_ROLES = ("control", "recover")


class CountingTarget(MemoryTarget):
    """Counts the bytes that go in and out, and where of each object they were read."""

    def __init__(self, name: str, *, region: str = "") -> None:
        super().__init__(name=name, region=region or name)
        self.written: Counter[str] = Counter()
        self.spans: list[tuple[str, int, int]] = []

    def put(self, name: str, chunks: Iterable[bytes | memoryview], *, size: int, sha256: bytes) -> bool:
        self.written[name.partition("/")[0]] += size
        return super().put(name, chunks, size=size, sha256=sha256)

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        at = offset
        for chunk in super().read(name, offset=offset, length=length):
            self.spans.append((name, at, at + len(chunk)))
            at += len(chunk)
            yield chunk

    def forget(self) -> None:
        self.written.clear()
        self.spans.clear()


class CountingRecipient(KeyFileRecipient):
    """Counts the key operations."""

    __slots__ = ("wraps",)

    def __init__(self, key: bytes, *, label: str = "") -> None:
        super().__init__(key, label=label)
        self.wraps = 0

    def wrap(self, key: bytes, *, context: bytes) -> Stanza:
        self.wraps += 1
        return super().wrap(key, context=context)


class CountingIdentity(KeyFileIdentity):
    """Counts the unwrappings of its own stanzas."""

    __slots__ = ("opened",)

    def __init__(self, key: bytes) -> None:
        super().__init__(key)
        self.opened = 0

    def unwrap(self, stanza: Stanza, *, context: bytes) -> bytes | None:
        found = super().unwrap(stanza, context=context)
        self.opened += found is not None
        return found


class Rotated:
    """A world, a backup sealed for the old key, and what is needed to rotate to a new one."""

    def __init__(self, folder: Path, *, secrets: Iterable[Secret] | None = None, pieces: int = 3) -> None:
        world = make_world(folder, secrets=secrets, pieces=pieces)
        targets: dict[str, Target] = {name: CountingTarget(name) for name in world.targets}
        pins = tuple(pin_target(name, target) for name, target in targets.items())
        self.world = replace(world, targets=targets).with_spec(targets=pins)
        key = os.urandom(32)
        self.old, self.new = self.world.identity, CountingIdentity(key)
        self.recipient = CountingRecipient(key, label="new")
        self.trusted = frozenset({self.world.installation.fingerprint})

    def services(self, *identities: Identity, index: Sequence[Recipient] = (), **changed: object) -> Services:
        """Return a process whose policy names the new key, and whose indexes of names are for these."""
        spec = self.world.with_spec(recipients=(pin_recipient("new", self.recipient),)).spec
        pinned = Pinned(spec=spec, recipients=(self.recipient,), index_recipients=tuple(index))
        return self.world.services(
            pinned=lambda _: pinned,
            identities=lambda: identities,
            signer_fingerprints=self.trusted,
            **changed,
        )

    def back_up(self) -> str:
        return self.world.back_up().id

    def counting(self) -> list[CountingTarget]:
        return [target for target in self.world.targets.values() if isinstance(target, CountingTarget)]

    def rotation(self, *identities: Identity, **changed: object) -> RewrapOrder:
        values = {
            "recipients": (self.recipient,),
            "identities": identities or (self.old, self.new),
            "signer": self.world.signers["recover"],
            "trusted": self.trusted,
        }
        return RewrapOrder(**{**values, **changed})  # type: ignore[arg-type]

    def opened(self, backup: str, target: Target, *identities: Identity) -> int:
        """Open a whole backup from one target; return how many secrets came."""
        found = open_backup(target, backup, identities=identities, trusted=self.trusted)
        return sum(1 for _ in found.secrets())

    def manifest(self, backup: str):  # type: ignore[no-untyped-def]
        return read_manifest(self.world.targets["eu"], backup, trusted=self.trusted)

    def all_targets(self) -> Sequence[Target]:
        return list(self.world.targets.values())
