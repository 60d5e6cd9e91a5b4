"""A backup file that was rotated or signed anew in its own place, in the hands of the recovery program."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from strongroom.container.signing import CertifiedSigner, Signers
from strongroom.container.wrapping import WrappingKey, open_detached, write_detached
from strongroom.keys.hpke import HpkeIdentity
from strongroom.operations.archive.envelopes import envelope_name, wrapping_keys
from strongroom.operations.archive.open import read_manifest
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.procedures.re_sign import re_sign_backup
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.single_file import rewrap_file
from strongroom.targets.single_file import BundleReader, BundleWriter
from tests.certified import certified
from tests.operations.rotation.rotating import MANIFEST_ROLES
from tests.operations.world import World, made_up, make_world
from tests.recover.test_recover import run

VALUE = b"CANARY-0007-" + b"x" * 40


@dataclass(frozen=True)
class File:
    """A backup file, and those who can open it by turns: keys in the order of the rotations."""

    world: World
    path: Path
    backup: str
    keys: tuple[HpkeIdentity, ...]

    def key(self, number: int) -> Path:
        return self.path.parent / f"{number}.key"

    def rotate(self, to: int, signer: CertifiedSigner) -> None:
        """Rewrite the file for another key; what is older is kept or not, as the product does it."""
        rewrap_file(
            self.path,
            RewrapOrder(
                recipients=[self.keys[to].recipient()],
                identities=self.keys,
                signer=signer,
                trusted=frozenset({self.installation}),
            ),
        )

    @property
    def installation(self) -> str:
        return self.world.installation.fingerprint

    def wrapping_key(self) -> str:
        with BundleReader(self.path) as file:
            return next(iter(wrapping_keys(read_manifest(file, trusted=None))))

    def get(self, number: int, *words: str) -> tuple[int, bytes, str]:
        done = run(self.path, "--private-key", self.key(number), "--get", "app/0007", *words)
        return done.returncode, done.stdout, done.stderr.decode()


@pytest.fixture
def file(tmp_path: Path) -> File:
    world = make_world(tmp_path, secrets=made_up(20))
    keys = tuple(HpkeIdentity.generate() for _ in range(3))
    made = backup_to_file(
        tmp_path / "weekly.strongroom",
        source=world.source,
        recipients=[keys[0].recipient()],
        services=world.services(),
    )
    file = File(world, tmp_path / "weekly.strongroom", made.backup_id, keys)
    for number, key in enumerate(keys):
        key.save(file.key(number))
    file.rotate(1, world.signers["recover"])
    return file


def rewritten(file: File, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write the file anew with other objects, as somebody can who may write it."""
    with BundleReader(file.path) as old, BundleWriter(file.path, replace=True) as new:
        objects = {info.name: b"".join(old.read(info.name)) for info in old.list()}
        change(objects)
        for name, content in objects.items():
            new.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
        new.close(commit=True)


def test_the_key_it_was_rotated_to_opens_it_and_the_one_before_does_not(file: File) -> None:
    assert file.get(1)[:2] == (0, VALUE)
    code, out, said = file.get(0)
    assert (code, out) == (10, b"")
    assert "CannotOpen" in said


def test_of_several_rotations_the_last_one_counts(file: File) -> None:
    file.rotate(2, file.world.signers["recover"])
    assert file.get(2)[:2] == (0, VALUE)
    assert file.get(1)[0] == 10


def test_after_a_rotation_the_one_fingerprint_of_before_opens_the_file(file: File) -> None:
    """B2: it was another key's than the one that a person was told to note."""
    assert file.get(1, "--signer", file.installation)[:2] == (0, VALUE)


def test_an_envelope_that_another_role_signed_is_left_aside(file: File) -> None:
    key = file.wrapping_key()

    def sign_as_control(objects: dict[str, bytes]) -> None:
        record = open_detached(objects[envelope_name(key, 2)], trusted=None).record
        objects[envelope_name(key, 2)] = write_detached(record, file.world.signers["control"])

    rewritten(file, sign_as_control)
    code, _, said = file.get(1, "--signer", file.installation)
    assert code == 10
    assert re.search(r"left aside: keys/\S+/00000002: Untrusted: The key of role 'control' does not", said)


def test_what_a_stranger_put_above_it_is_left_aside_when_signers_are_pinned(file: File) -> None:
    rewritten(file, lambda objects: objects.update(_strangers(file)))
    code, out, said = file.get(1, "--signer", file.installation)
    assert (code, out) == (70, VALUE)
    assert "left aside: keys/" in said


def test_without_pins_an_envelope_of_another_installation_than_the_manifests_is_left_aside(
    file: File,
) -> None:
    rewritten(file, lambda objects: objects.update(_strangers(file)))
    code, out, said = file.get(1)
    assert (code, out) == (70, VALUE)
    assert re.search(r"left aside: keys/\S+/00000009: Untrusted", said)


def _strangers(file: File) -> dict[str, bytes]:
    """Return an envelope for the reader's public key, round a wrapping key that a stranger chose."""
    key, reader = file.wrapping_key(), [file.keys[1].recipient()]
    own = WrappingKey.create(
        reader, _random=lambda size: bytes.fromhex(key) if 2 * size == len(key) else os.urandom(size)
    )
    record = own.rewrap(reader, generation=9).record
    return {envelope_name(key, 9): write_detached(record, certified("recover"))}


def test_an_older_envelope_under_a_newer_ones_name_does_not_bring_back_who_was_rotated_away(
    file: File,
) -> None:
    key = file.wrapping_key()
    second: list[bytes] = []
    rewritten(file, lambda objects: second.append(objects[envelope_name(key, 2)]))
    file.rotate(2, file.world.signers["recover"])
    rewritten(file, lambda objects: objects.update({envelope_name(key, 7): second[0]}))
    assert file.get(2)[:2] == (70, VALUE)
    assert file.get(1)[0] == 10


def test_garbage_among_the_envelopes_keeps_nobody_from_the_right_one(file: File) -> None:
    key = file.wrapping_key()
    rewritten(file, lambda objects: objects.update({envelope_name(key, 8): b"{" * 300_000}))
    assert file.get(1)[:2] == (70, VALUE)


def test_a_file_that_was_signed_anew_is_believed_by_the_same_fingerprint(file: File) -> None:
    leaked = [file.world.signers[role].fingerprint for role in MANIFEST_ROLES]
    why = dict.fromkeys(leaked, "2026-11-26T08:00:00+00:00: leak")
    new = {role: certified(role, installation=file.world.installation) for role in MANIFEST_ROLES}
    world = replace(file.world, signers={**file.world.signers, **new})
    services = world.services(
        signer_fingerprints=Signers({file.installation}, distrusted=why), identities=lambda: file.keys
    )
    entry = services.store.backup(file.backup)
    assert entry is not None
    re_sign_backup(services, entry)
    assert file.get(1, "--signer", file.installation)[:2] == (0, VALUE)
    assert file.get(1)[:2] == (0, VALUE)
    assert file.get(0)[0] == 10


def test_a_container_of_another_backup_in_its_place_is_refused(file: File, tmp_path: Path) -> None:
    other = backup_to_file(
        tmp_path / "other.strongroom",
        source=file.world.source,
        recipients=[file.keys[1].recipient()],
        services=file.world.services(),
    )
    with BundleReader(tmp_path / "other.strongroom") as source:
        (foreign,) = (info.name for info in source.list(f"containers/{other.backup_id}/"))
        content = b"".join(source.read(foreign))

    def swap(objects: dict[str, bytes]) -> None:
        (own,) = (name for name in objects if name.startswith("containers/"))
        objects[own] = content

    rewritten(file, swap)
    code, out, said = file.get(1)
    assert (code, out) == (11, b"")
    assert "not what the manifest names" in said


def test_of_the_envelopes_of_a_target_those_of_a_stranger_keep_nobody_from_the_others(
    file: File, tmp_path: Path
) -> None:
    with BundleReader(file.path) as bundle:
        objects = {info.name: b"".join(bundle.read(info.name)) for info in bundle.list()}
    (container,) = (content for name, content in objects.items() if name.startswith("containers/"))
    (own,) = (content for name, content in objects.items() if name.startswith("keys/"))
    (foreign,) = _strangers(file).values()
    for name, content in (("container", container), ("own", own), ("foreign", foreign)):
        (tmp_path / name).write_bytes(content)
    pins = ["--signer", file.installation]
    words = (tmp_path / "container", "--private-key", file.key(1), "--get", "app/0007", *pins, "--newer")
    done = run(*words, tmp_path / "own", tmp_path / "foreign")
    assert (done.returncode, done.stdout) == (0, VALUE)
    assert b"left aside" in done.stderr
    assert run(*words, tmp_path / "foreign").returncode == 13
