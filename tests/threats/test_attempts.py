"""What the threat model says that somebody cannot do, tried. Other claims have tests where their code has."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.container.errors import FormatError, Tampered, UntrustedSigner, WrongKey
from strongroom.container.manifest import parse_manifest, sign_manifest
from strongroom.container.signing import Signer
from strongroom.errors import StrongroomError
from strongroom.keys.hpke import HpkeIdentity
from strongroom.operations.archive.open import manifest_bytes, open_backup
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import containers_prefix, manifest_name
from strongroom.operations.engine.steps import perform
from strongroom.state.records import RunState
from strongroom.targets import Target
from strongroom.wiring.services import build_services
from tests.chaos.place import POLICY as PLACE_POLICY
from tests.chaos.place import Place, made_up, make_place
from tests.operations.backup.test_sweep import certified, put
from tests.operations.world import POLICY, World, make_world, names_on


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, pieces=1)


def containers(target: Target, backup: str) -> list[str]:
    return [name for name in names_on(target) if name.startswith(containers_prefix(backup))]


def give(target: Target, name: str, content: bytes) -> None:
    """Have an object hold other bytes, as whoever holds the target can."""
    target.delete(name)
    put(target, name, content)


def test_a_target_that_swaps_containers_between_backups_is_found_out(world: World) -> None:
    first, second = world.back_up().id, world.back_up().id
    eu = world.targets["eu"]
    (old,), (new,) = containers(eu, first), containers(eu, second)
    give(eu, new, b"".join(eu.read(old)))
    backup = open_backup(eu, second, identities=[world.identity], trusted=None)
    with pytest.raises(FormatError):
        list(backup.secrets())
    services = world.services()
    run, tickets = submit_verify(services, backup=second)
    assert drive(run, tickets, services, processes=1).state is RunState.DEGRADED
    assert {one.target for one in services.store.replicas(second) if not one.good} == {"eu"}


def test_a_target_that_hides_the_newest_backup_is_found_out_while_the_catalog_knows_it(world: World) -> None:
    world.back_up()
    newest = world.back_up().id
    for target in world.targets.values():
        for name in [one for one in names_on(target) if newest in one]:
            target.delete(name)
    services = world.services()
    run, tickets = submit_verify(services, backup=newest)
    ended = drive(run, tickets, services, processes=1)
    assert (ended.state, "MissingPiece" in str(ended.error)) == (RunState.FAILED, True)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A backup host whose recipients are public keys alone."""
    made = make_place(tmp_path / "host", made_up(1, seed=1))
    services = build_services(load_settings(dict(made.environment)), role="operator")
    run, tickets = submit_backup(services, policy=PLACE_POLICY)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
    return made


def test_a_host_with_public_keys_alone_opens_no_backup_with_all_that_it_has(place: Place) -> None:
    services = build_services(load_settings(dict(place.environment)), role="operator")
    backup = open_backup(place.target("region-a"), identities=services.identities(), trusted=None)
    with pytest.raises(WrongKey):
        list(backup.secrets())


def test_no_file_of_such_a_host_is_a_key_that_opens(place: Place) -> None:
    """The role keys, the work key and the digest key are there; whoever is root has them."""
    opened: list[Path] = []
    for path in [one for one in place.state.rglob("*") if one.is_file()]:
        for seed in _seeds(path.read_bytes()):
            identity = HpkeIdentity(seed)
            backup = open_backup(place.target("region-a"), identities=[identity], trusted=None)
            try:
                list(backup.secrets())
            except StrongroomError:
                continue
            opened.append(path)
    assert opened == []


def _seeds(content: bytes) -> set[bytes]:
    """Return what in a small file may be the 32 bytes of a private key, raw or in hex."""
    if len(content) > 4096:
        return set()
    found = {content[-32:]} if len(content) >= 32 else set()
    for word in content.replace(b'"', b" ").replace(b":", b" ").split():
        try:
            raw = bytes.fromhex(word.decode())
        except ValueError:
            continue
        found |= {raw} if len(raw) == 32 else set()
    return found


def test_a_recipients_private_key_signs_nothing_that_counts(world: World) -> None:
    """Both kinds of keys are made of 32 bytes."""
    backup = world.back_up().id
    eu = world.targets["eu"]
    genuine = parse_manifest(manifest_bytes(eu, backup, trusted=None), trusted=None)
    forger = certified(Signer.from_private(world.identity._key.reveal()))
    give(eu, manifest_name(backup), sign_manifest(genuine, forger))
    with pytest.raises((UntrustedSigner, Tampered)):
        open_backup(eu, backup, identities=[world.identity], trusted=world.services().signer_fingerprints)


def test_a_message_that_is_replayed_does_nothing(world: World) -> None:
    services = world.services()
    run, tickets = submit_backup(services, policy=POLICY)
    replayed = list(tickets)

    def watch(ticket: object) -> None:
        replayed.append(ticket)  # type: ignore[arg-type]

    drive(run, tickets, services, processes=1, watch=watch)
    before = (services.store.rows(run), [names_on(target) for target in world.targets.values()])
    for ticket in replayed:
        assert perform(ticket, world.services()) == []
    assert (services.store.rows(run), [names_on(target) for target in world.targets.values()]) == before


EDITS: dict[str, str] = {
    "its replicas": "UPDATE replicas SET good = 1, verified = 'compared'",
    "its state": "UPDATE runs SET state = 'failed', facts = json_remove(facts, '$.manifest')",
    "its catalog": "DELETE FROM replicas; DELETE FROM catalog",
    "all runs": "DELETE FROM steps; DELETE FROM runs; DELETE FROM replicas; DELETE FROM catalog",
}


@pytest.mark.parametrize("edit", EDITS)
def test_nothing_in_the_state_database_keeps_a_backup_from_being_read_whole(world: World, edit: str) -> None:
    backup = world.back_up().id
    with sqlite3.connect(world.folder / "state.db") as connection:
        connection.executescript(EDITS[edit])
    world.back_up()
    for target in world.targets.values():
        found = open_backup(target, backup, identities=[world.identity], trusted=None)
        assert len(list(found.secrets())) == 30
