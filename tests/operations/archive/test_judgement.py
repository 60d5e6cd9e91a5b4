"""Workers judge as the command line does: pins, joins, and a word on what was left aside."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import Tampered
from strongroom.container.manifest import ContainerEntry, Manifest, parse_manifest, receipt_of, sign_manifest
from strongroom.container.signing import CertifiedSigner, sign_receipt
from strongroom.container.wrapping import open_detached, write_detached
from strongroom.model import Depth
from strongroom.operations.archive.envelopes import envelope_name, wrapping_keys
from strongroom.operations.archive.open import ReadBackKeys, open_backup, read_back
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import container_entry, manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.operations.rotation.job import submit_rotation
from strongroom.state.records import CatalogEntry, Run, RunState
from strongroom.targets import Target
from tests.certified import certified
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, World, make_world


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def put(target: Target, name: str, content: bytes) -> None:
    target.delete(name)
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


def test_a_verification_and_a_restore_that_met_a_strangers_envelope_are_degraded_and_name_it(
    at: Rotated,
) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    assert finish(submit_rotation(services, policy=POLICY), services).state is RunState.DONE
    (key,) = wrapping_keys(at.manifest(backup))
    eu, name = at.world.targets["eu"], envelope_name(key, 3)
    record = open_detached(b"".join(eu.read(envelope_name(key, 2))), trusted=at.trusted).record
    third = msgspec.structs.replace(record, generation=3)
    put(eu, name, write_detached(third, certified("recover")))

    verified = finish(submit_verify(services, backup=backup), services)
    assert verified.state is RunState.DEGRADED
    assert f"eu: {name} (UntrustedSigner)" in (verified.error or "")
    assert services.store.replicas(backup)[0].good, "whoever may write there makes no replica bad"

    options = RestoreOptions(destination="vault")
    restored = finish(submit_restore(services, backup=backup, options=options), services)
    assert restored.state is RunState.DEGRADED
    assert f"{name} (UntrustedSigner)" in (restored.error or "")


# -- the joins of a manifest and its containers ------------------------------------------------


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


Forgery = Callable[[Manifest, CertifiedSigner], Manifest]


def list_fewer(manifest: Manifest, _: CertifiedSigner) -> Manifest:
    """B5: drop the last container, as whoever has a role's key can."""
    return _with(manifest, manifest.containers[:-1])


def count_more(manifest: Manifest, sealer: CertifiedSigner) -> Manifest:
    first = msgspec.structs.replace(manifest.containers[0], versions=manifest.containers[0].versions + 1)
    return _with(manifest, (_receipted(manifest, first, sealer), *manifest.containers[1:]))


def begin_elsewhere(manifest: Manifest, sealer: CertifiedSigner) -> Manifest:
    first = msgspec.structs.replace(manifest.containers[0], first="00" * 16)
    return _with(manifest, (_receipted(manifest, first, sealer), *manifest.containers[1:]))


def end_elsewhere(manifest: Manifest, sealer: CertifiedSigner) -> Manifest:
    last = msgspec.structs.replace(manifest.containers[-1], last="ff" * 16)
    return _with(manifest, (*manifest.containers[:-1], _receipted(manifest, last, sealer)))


def _receipted(manifest: Manifest, entry: ContainerEntry, sealer: CertifiedSigner) -> ContainerEntry:
    receipt = receipt_of(manifest, entry)
    return container_entry(receipt, sign_receipt(receipt, sealer), sealer.public)


def _with(manifest: Manifest, containers: tuple[ContainerEntry, ...]) -> Manifest:
    counts = {name: sum(getattr(one, name) for one in containers) for name in ("secrets", "versions", "size")}
    return msgspec.structs.replace(
        manifest, containers=containers, counts=msgspec.structs.replace(manifest.counts, **counts)
    )


@pytest.mark.parametrize("forge", [list_fewer, count_more, begin_elsewhere, end_elsewhere])
def test_a_manifest_that_says_otherwise_than_its_containers_is_tampered_for_everybody(
    world: World, forge: Forgery
) -> None:
    backup = world.back_up().id
    services = world.services()
    target, name = world.targets["eu"], manifest_name(backup)
    trusted = services.signer_fingerprints
    manifest = parse_manifest(b"".join(target.read(name)), trusted=trusted)
    forged = sign_manifest(forge(manifest, world.signers["seal"]), world.signers["control"])
    for one in world.targets.values():
        put(one, name, forged)
    services.store.put_backup(
        msgspec.structs.replace(_entry(services, backup), manifest_sha256=hashlib.sha256(forged).hexdigest())
    )

    keys = ReadBackKeys(identities=(world.identity,), trusted=trusted)
    with pytest.raises(Tampered):
        read_back(target, parse_manifest(forged, trusted=trusted), Depth.OPENED, keys)
    with pytest.raises(Tampered):
        list(open_backup(target, backup, identities=[world.identity], trusted=trusted).secrets())
    verified = finish(submit_verify(services, backup=backup, depth=Depth.OPENED), services)
    assert verified.state is RunState.FAILED
    errors = {row.error.partition(":")[0] for row in services.store.rows(verified.id) if row.error}
    assert "Tampered" in errors


def _entry(services: Services, backup: str) -> CatalogEntry:
    found = services.store.backup(backup)
    assert found is not None
    return found
