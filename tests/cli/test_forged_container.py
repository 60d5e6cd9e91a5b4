"""A `seal` key that is stolen later puts no other container in the place of one that a manifest names.

The manifest names its containers' signer, and that is the stolen key. Whoever may write on a target then
lays another container there, of the same size, for the same recipients, signed by that key. A reader of
all hashes it, and one of a few secrets does not: what it reads is bound by the signature in the manifest.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from strongroom.cli.shared.identities import load_key
from strongroom.container.about import ContainerHeader
from strongroom.container.cobblestone import name_hash
from strongroom.container.errors import Tampered
from strongroom.container.reader import Container
from strongroom.container.wrapping import WrappingKey
from strongroom.container.writer import write_container
from strongroom.keys import roles
from strongroom.keys.hpke import HpkeIdentity, HpkeRecipient
from strongroom.model import Secret, SecretBytes
from strongroom.operations.archive.open import ObjectReader, read_manifest
from strongroom.operations.engine.layout import container_name
from strongroom.targets.directory import DirectoryTarget
from tests.cli.furnished import furnished
from tests.cli.program import Done, Machine
from tests.recover.test_recover import run

NAME, TRUE, FORGED = "db/password", "CANARY-TRUE", "CANARY-EVIL"
CONFIG = """
[targets.east]
kind = "directory"
path = "{home}/east"
region = "eu-central"
create = true
[sources.local]
kind = "local"
[keys.recovery]
kind = "hpke"
public_key_file = "{home}/recovery.key.pub"
identity_file = "{home}/recovery.key"
[policies.nightly]
kind = "full"
targets = ["east"]
recipients = ["recovery"]
"""


def keep_house(machine: Machine) -> None:
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(CONFIG.format(home=machine.home))
    machine.set(NAME, TRUE, "--tag", "env=prod")
    machine.set("api/key", "CANARY-KEY")
    machine.ok("backup", "--policy", "nightly", "--force")
    forge(machine)


house = furnished(keep_house)


def forge(machine: Machine) -> None:
    """Put another container in the place of the backup's only one, with the stolen key of the role `seal`."""
    target = DirectoryTarget(machine.path("east"), name="east", region="eu")
    manifest = read_manifest(target, trusted=None)
    [entry] = manifest.containers
    name = container_name(manifest.backup_id, entry.sha256)
    key = load_key(machine.path("recovery.key"))
    assert isinstance(key, HpkeIdentity)
    # The key of the names' hashes, too, could be any that puts the wanted name into the range.
    true = Container.open(ObjectReader(target, name), [key], trusted=None)
    recipient = HpkeRecipient(key.public, label="recovery")
    content = bytearray()
    write_container(
        content.extend,
        hashed(true.about, map(changed, true.secrets())),
        about=true.about,
        wrapping_key=WrappingKey.create([recipient], _random=numbered(entry.wrapping_key)),
        signer=roles.load_role(machine.state / "keys" / "roles", "seal"),
        digest_key=os.urandom(32),
    )
    assert len(content) == entry.size
    assert hashlib.sha256(content).hexdigest() != entry.sha256
    path = machine.path("east") / name
    path.unlink()
    path.write_bytes(content)


def hashed(about: ContainerHeader, secrets: Iterator[Secret]) -> Iterator[tuple[bytes, Secret]]:
    return ((name_hash(about.name_key, secret.name), secret) for secret in secrets)


def changed(secret: Secret) -> Secret:
    if secret.name != NAME:
        return secret
    versions = tuple(
        msgspec.structs.replace(version, value=SecretBytes(FORGED.encode())) for version in secret.versions
    )
    return msgspec.structs.replace(secret, versions=versions, tags={"env": "evil"})


def numbered(wrapping_key: str) -> Any:
    """Random bytes, but that a wrapping key gets this id."""
    return lambda size: bytes.fromhex(wrapping_key) if size == 16 else os.urandom(size)


@pytest.fixture
def lost(house: Machine, other: Machine) -> Machine:
    """Another machine, with a copy of the target and the recovery key."""
    shutil.copytree(house.path("east"), other.path("east"))
    shutil.copy(house.path("recovery.key"), other.path("recovery.key"))
    return other


def given(house: Machine) -> list[str | Path]:
    fingerprint = roles.installation_fingerprint(house.state / "keys" / "roles")
    return ["--from-target", "east", "--identity", "recovery.key", "--signer", fingerprint]


def told_nothing_forged(done: Done) -> bool:
    return FORGED not in done.out + done.err and "evil" not in done.out


READS: dict[str, list[str]] = {
    "get": ["get", NAME, "--show-value"],
    "find": ["backups", "find", NAME, "--no-index", "--json"],
    "restore one": ["restore", "--secret-name", NAME],
    "restore all": ["restore", "--full-restore", "--force"],
    "list": ["list", "--json"],
}


@pytest.mark.parametrize("words", READS.values(), ids=READS)
def test_a_forged_container_of_the_same_size_gives_nothing(
    house: Machine, lost: Machine, words: list[str]
) -> None:
    done = lost.run(*words, *given(house))
    assert done.code == Tampered("").exit_code, done
    assert told_nothing_forged(done), done
    assert NAME not in [one["name"] for one in lost.ok("list", "--json").document["secrets"]]


@pytest.mark.parametrize("words", [["--get", NAME], ["--jsonl"]], ids=["one", "all"])
def test_the_recovery_program_gives_nothing_of_it(house: Machine, lost: Machine, words: list[str]) -> None:
    signer = given(house)[-1]
    done = run(lost.path("east"), "--private-key", lost.path("recovery.key"), "--signer", signer, *words)
    assert done.returncode == Tampered("").exit_code, done
    assert FORGED.encode() not in done.stdout
