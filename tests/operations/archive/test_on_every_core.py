"""Verifying, comparing, finding and sealing anew by several processes is what one process does."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.container.errors import Tampered, WrongKey
from strongroom.container.manifest import ContainerEntry
from strongroom.container.reader import Container
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.model import Depth, Secret, SecretBytes, SecretVersion
from strongroom.operations.archive import open as opening
from strongroom.operations.archive.coverage import BackupChoice, ShownReplica
from strongroom.operations.archive.find import SecretQuery
from strongroom.operations.archive.history import BackupSide, Difference, compare, digest_for_now
from strongroom.operations.archive.open import Backup, ReadBackKeys, open_backup, read_back, signed_copy
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine.layout import container_name
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.single_file import reencrypt_file
from strongroom.sources.memory import MemoryStore
from strongroom.system import every_core
from strongroom.system.process import may_fork
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.memory import MemoryTarget
from strongroom.targets.single_file import BundleReader
from tests.operations.world import World, made_up, make_world

pytestmark = [
    pytest.mark.skipif(not may_fork(), reason="forking is not safe on this system"),
    pytest.mark.platform,
]

CORES = (1, 2, 5)
VERSION = SecretVersion(number=2, value=SecretBytes(b"CANARY-CHANGED"))


@pytest.fixture
def on_cores(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    monkeypatch.setattr(opening, "WORTH", 0)
    return lambda number: monkeypatch.setattr(every_core, "cores", lambda: number)


def changed(secret: Secret, chance: random.Random) -> list[Secret]:
    """Return what became of a secret: nothing, another value, another tag, or it is gone."""
    tags = {"moved": "yes"} if chance.random() < 0.1 else secret.tags
    versions = (VERSION,) if chance.random() < 0.1 else secret.versions
    now = Secret(name=secret.name, type=secret.type, tags=tags, versions=versions)
    return [now] if chance.random() > 0.1 else []


class TwoBackups:
    """Two backups of one policy, in several containers, on three targets."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.world = make_world(folder, secrets=made_up(60), pieces=7)
        chance = random.Random(seed)
        later = [now for secret in made_up(60) for now in changed(secret, chance)]
        later += [Secret(name=f"new/{number}", versions=(VERSION,)) for number in range(chance.randrange(9))]
        source = MemoryStore(later, name="vault")
        self.ids = [
            self.world.back_up().id,
            self.world.back_up(self.world.services(sources={"vault": source})).id,
        ]
        self.told: list[tuple[str, ...]] = []

    @property
    def places(self) -> list[MemoryTarget]:
        return [target for target in self.world.targets.values() if isinstance(target, MemoryTarget)]

    def replicated(self, number: int) -> Replicated:
        signed = signed_copy(self.places[0], self.ids[number], trusted=None)
        replicas = tuple(ShownReplica(name, target) for name, target in self.world.targets.items())
        return Replicated(
            BackupChoice(signed=signed, replicas=replicas),
            [self.world.identity],
            trusted=frozenset({self.world.installation.fingerprint}),
            told=lambda *told: self.told.append(told),
        )

    def damage(self, target: MemoryTarget, number: int, piece: int) -> ContainerEntry:
        manifest = signed_copy(target, self.ids[number], trusted=None).manifest
        name = container_name(manifest.backup_id, manifest.containers[piece].sha256)
        content = bytearray(target._objects[name])
        content[len(content) // 3] ^= 1
        target._objects[name] = bytes(content)
        return manifest.containers[piece]

    def difference(self, *, by_value: bool) -> Difference:
        digest = digest_for_now() if by_value else None
        sides = [BackupSide(self.replicated(number), digest) for number in (0, 1)]
        return compare(*sides, by_value=by_value, has_expired=lambda facts: False)

    def verified(self, number: int, depth: Depth) -> int:
        keys = ReadBackKeys(identities=[self.world.identity], digest_key=self.world.digest_key)
        manifest = signed_copy(self.places[0], self.ids[number], trusted=None).manifest
        return read_back(self.places[0], manifest, depth, keys)


@pytest.mark.parametrize("seed", range(3))
def test_any_number_of_cores_finds_the_same_difference(
    on_cores: Callable[[int], None], tmp_path: Path, seed: int
) -> None:
    two = TwoBackups(tmp_path, seed)
    for by_value in (False, True):
        differences = []
        for number in CORES:
            on_cores(number)
            differences.append(two.difference(by_value=by_value))
        assert differences[0] == differences[1] == differences[2]
        assert differences[0].same + len(differences[0].changed) + len(differences[0].removed) == 60


@pytest.mark.parametrize("depth", [Depth.PRESENT, Depth.DIGEST, Depth.OPENED, Depth.COMPARED])
def test_any_number_of_cores_verifies_to_each_depth(
    on_cores: Callable[[int], None], tmp_path: Path, depth: Depth
) -> None:
    two = TwoBackups(tmp_path, 1)
    for number in CORES:
        on_cores(number)
        assert two.verified(0, depth) == 60


@pytest.mark.parametrize("depth", [Depth.DIGEST, Depth.OPENED, Depth.COMPARED])
def test_damage_in_the_third_container_is_told_alike_before_that_in_a_later_one(
    on_cores: Callable[[int], None], tmp_path: Path, depth: Depth
) -> None:
    two = TwoBackups(tmp_path, 1)
    for piece in (5, 2):
        two.damage(two.places[0], 0, piece)
    for number in CORES:
        on_cores(number)
        with pytest.raises(Tampered, match="container 2 "):
            two.verified(0, depth)


def test_a_value_that_is_not_the_captured_one_is_named_alike(
    on_cores: Callable[[int], None], tmp_path: Path
) -> None:
    two = TwoBackups(tmp_path, 1)
    keys = ReadBackKeys(identities=[two.world.identity], digest_key=os.urandom(32))
    manifest = signed_copy(two.places[0], two.ids[0], trusted=None).manifest
    said = set()
    for number in CORES:
        on_cores(number)
        with pytest.raises(opening.VerificationFailed) as caught:
            read_back(two.places[0], manifest, Depth.COMPARED, keys)
        said.add(caught.value.message)
    assert len(said) == 1
    assert "is not the value that was captured" in said.pop()


def test_a_key_that_does_not_fit_is_told_alike(on_cores: Callable[[int], None], tmp_path: Path) -> None:
    two = TwoBackups(tmp_path, 1)
    keys = ReadBackKeys(identities=[KeyFileIdentity(os.urandom(32))])
    manifest = signed_copy(two.places[0], two.ids[0], trusted=None).manifest
    for number in CORES:
        on_cores(number)
        with pytest.raises(WrongKey):
            read_back(two.places[0], manifest, Depth.OPENED, keys)


def test_what_one_place_does_not_give_another_does_and_that_is_told_alike(
    on_cores: Callable[[int], None], tmp_path: Path
) -> None:
    two = TwoBackups(tmp_path, 1)
    whole = two.difference(by_value=False)
    two.damage(two.places[0], 0, 2)
    told = []
    for number in CORES:
        on_cores(number)
        two.told.clear()
        assert two.difference(by_value=True).same == whole.same
        told.append(set(two.told))
    assert told[0] == told[1] == told[2]
    assert [place for place, _, _ in told[0]] == ["eu"]


def test_no_value_crosses_from_a_child(
    on_cores: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossed, read = bytearray(), every_core._Child.read

    def noted(child: every_core._Child) -> tuple[int, bytes]:
        kind, part = read(child)
        crossed.extend(part)
        return kind, part

    monkeypatch.setattr(every_core._Child, "read", noted)
    on_cores(2)
    two = TwoBackups(tmp_path, 1)
    two.verified(0, Depth.COMPARED)
    two.difference(by_value=True)
    two.difference(by_value=False)
    assert len(list(SecretQuery(pattern="*").within(two.replicated(0)))) == 60
    assert b"app/0059" in crossed
    assert b"CANARY" not in crossed


def test_a_pattern_finds_the_same_on_any_number_of_cores(
    on_cores: Callable[[int], None], tmp_path: Path
) -> None:
    two = TwoBackups(tmp_path, 1)
    for number in CORES:
        on_cores(number)
        found = {facts.name for facts in SecretQuery(pattern="*/00[1-3]*").within(two.replicated(0))}
        assert found == {f"app/{one:04}" for one in range(10, 40)}


def test_a_key_service_is_asked_once_for_all_containers(
    on_cores: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = TwoBackups(tmp_path, 1)
    unwrap, asked = KeyFileIdentity.unwrap, []

    def counted(self: KeyFileIdentity, *args: object, **kwargs: object) -> bytes | None:
        asked.append(os.getpid())
        return unwrap(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(KeyFileIdentity, "unwrap", counted)
    for number in CORES:
        on_cores(number)
        asked.clear()
        two.verified(0, Depth.OPENED)
        keys = {entry.wrapping_key for entry in two.replicated(0).manifest.containers}
        assert asked == [os.getpid()] * len(keys)


def in_a_file(world: World, path: Path) -> None:
    recipients = [world.identity.recipient()]
    backup_to_file(path, source=world.source, recipients=recipients, services=world.services())


@pytest.mark.parametrize("killed", [False, True])
def test_a_file_is_sealed_anew_whole_by_any_number_of_cores(
    on_cores: Callable[[int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: bool
) -> None:
    home, hashed = os.getpid(), Container.hashed

    def dying(self: Container) -> Iterator[tuple[bytes, Secret]]:
        for number, pair in enumerate(hashed(self)):
            if os.getpid() != home and self.about.piece == 1 and number == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            yield pair

    if killed:
        monkeypatch.setattr(Container, "hashed", dying)
    monkeypatch.setattr("strongroom.operations.backup.plan.PIECE_SECRETS", 10)
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    world = make_world(tmp_path, secrets=made_up(60)).with_stage(stage)
    new = KeyFileIdentity(os.urandom(32))
    trusted = frozenset({world.installation.fingerprint})
    order = RewrapOrder(
        recipients=[new.recipient()],
        identities=[world.identity, new],
        signer=world.signers["recover"],
        trusted=trusted,
    )
    for number in CORES:
        on_cores(number)
        path = tmp_path / f"file-{number}"
        in_a_file(world, path)
        assert reencrypt_file(path, order, digest_key=world.digest_key, remove=True).verified == "opened"
        with BundleReader(path) as bundle:
            backup: Backup = open_backup(bundle, identities=[new], trusted=trusted)
            assert len(backup.manifest.containers) == 6
            assert sorted(backup.secrets(), key=lambda secret: secret.name) == made_up(60)
