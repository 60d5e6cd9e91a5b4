"""Backups that a command wrote into a file: looked at where they lie, and counted when they do not."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import UsageError
from strongroom.keys.allof import recipient_key
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive.cases import Suspicion
from strongroom.operations.archive.inventory import SUPERSEDED, lying, say_gone
from strongroom.operations.backup.repair import degraded
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import open_due
from strongroom.operations.keys.usage import KeySurvey, survey
from strongroom.operations.procedures.incident_exposure import compromised_names
from strongroom.operations.procedures.incident_opening import AffectedBackups, affected_by, open_case
from strongroom.operations.rotation.rewrap import RewrapOrder
from strongroom.operations.rotation.single_file import reencrypt_file, rewrap_file
from strongroom.state.records import RunKind
from strongroom.targets.single_file import BundleReader
from tests.operations.world import World, make_world

REPAIR = [Scheduled(name="repair", kind=RunKind.REPAIR, schedule="* * * * *")]

NEW = KeyFileIdentity(os.urandom(32))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def services_of(world: World) -> Services:
    trusted = frozenset({world.installation.fingerprint})
    return world.services(signer_fingerprints=trusted)


def made(world: World, path: Path, *, replace: bool = False) -> str:
    recipients = [world.identity.recipient()]
    manifest = backup_to_file(
        path,
        source=world.source,
        recipients=recipients,
        services=services_of(world),
        replace_existing=replace,
    )
    return manifest.backup_id


def rotation(world: World) -> RewrapOrder:
    return RewrapOrder(
        recipients=[NEW.recipient()],
        identities=[world.identity, NEW],
        signer=world.signers["recover"],
        trusted=services_of(world).signer_fingerprints,
    )


def sealed_anew(world: World, path: Path) -> None:
    reencrypt_file(path, rotation(world), digest_key=b"d" * 32, remove=False)


def looked(world: World) -> KeySurvey:
    services = services_of(world)
    return survey(services, services.store.backups())


def opened_by(world: World, key: KeyFileIdentity) -> list[str]:
    use = looked(world).of(recipient_key(key.recipient()))
    return list(use.backups) if use else []


def exposed(world: World, **named: object) -> AffectedBackups:
    suspicion = Suspicion(keys=(recipient_key(world.identity.recipient()),), **named)  # type: ignore[arg-type]
    return affected_by(services_of(world), suspicion)


def test_it_counts_for_its_key_though_targets_are_configured(world: World, tmp_path: Path) -> None:
    backup = made(world, tmp_path / "a.sr")
    assert opened_by(world, world.identity) == [backup]
    assert looked(world).unread == {}


def test_re_wrapped_it_opens_with_the_new_key_and_by_copy_with_the_old_one(
    world: World, tmp_path: Path
) -> None:
    backup = made(world, tmp_path / "a.sr")
    rewrap_file(tmp_path / "a.sr", rotation(world))
    assert opened_by(world, NEW) == [backup]
    assert opened_by(world, world.identity) == []
    [one] = exposed(world).affected
    assert (one.backup, one.opens_now) == (backup, False)


def test_sealed_anew_both_the_new_file_and_the_kept_one_count(world: World, tmp_path: Path) -> None:
    backup = made(world, tmp_path / "a.sr")
    sealed_anew(world, tmp_path / "a.sr")
    assert opened_by(world, NEW) == [f"{backup}-r1"]
    assert opened_by(world, world.identity) == [backup]
    [one] = exposed(world).affected
    assert one.file.endswith(SUPERSEDED)
    Path(one.file).unlink()
    assert opened_by(world, world.identity) == []
    assert looked(world).unread == {}


@pytest.mark.parametrize("how", ["deleted", "moved", "another", "no backup", "a pipe"])
def test_one_that_is_not_where_it_was_written_is_named_with_the_path(
    world: World, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "a.sr"
    backup = made(world, path)
    if how == "moved":
        path.rename(tmp_path / "b.sr")
    elif how == "deleted":
        path.unlink()
    elif how == "another":
        made(world, path, replace=True)
    elif how == "a pipe":
        path.unlink()
        os.mkfifo(path)
    else:
        path.write_text("a letter")
    unread = looked(world).unread
    assert list(unread) == [backup]
    assert f"no longer at {path}" in unread[backup]


def test_one_that_is_damaged_is_not_taken_for_gone(world: World, tmp_path: Path) -> None:
    path = tmp_path / "a.sr"
    backup = made(world, path)
    path.write_bytes(path.read_bytes()[:-9])
    assert looked(world).unread[backup].startswith("Truncated")


def test_once_said_to_be_gone_it_hinders_nothing_and_counts_again_when_it_comes_back(
    world: World, tmp_path: Path
) -> None:
    path = tmp_path / "a.sr"
    backup = made(world, path)
    path.rename(tmp_path / "b.sr")
    say_gone(services_of(world), backup)
    found = looked(world)
    assert (found.unread, found.gone, found.backups) == ({}, (backup,), 0)
    assert exposed(world).gone == (backup,)
    (tmp_path / "b.sr").rename(path)
    found = looked(world)
    assert (found.gone, found.backups) == ((), 1)


def test_what_is_there_or_lies_on_targets_is_not_said_to_be_gone(world: World, tmp_path: Path) -> None:
    services = services_of(world)
    with pytest.raises(UsageError, match=r"it is in .*a\.sr"):
        say_gone(services, made(world, tmp_path / "a.sr"))
    with pytest.raises(UsageError, match="lies on targets"):
        say_gone(services, world.back_up().id)
    with pytest.raises(MissingPiece, match="no backup 'nothing'"):
        say_gone(services, "nothing")


def test_its_secrets_are_listed_for_an_incident(world: World, tmp_path: Path) -> None:
    backup = made(world, tmp_path / "a.sr")
    services = services_of(world)
    suspicion = Suspicion(keys=(recipient_key(world.identity.recipient()),))
    incident = open_case(services, suspicion, by="ops@here", reason="lost").incident
    found = compromised_names(services, incident)
    assert (incident.files, incident.policies, found.unlisted) == ((str(tmp_path / "a.sr"),), {}, {})
    assert found.names == {f"app/{number:04}": [backup] for number in range(30)}


def test_another_version_of_a_key_opens_no_file(world: World, tmp_path: Path) -> None:
    made(world, tmp_path / "a.sr")
    assert exposed(world, version=7).affected == ()


def test_the_files_of_one_backup_are_told_by_the_ids_they_bear(world: World, tmp_path: Path) -> None:
    path = tmp_path / "a.sr"
    backup = made(world, path)
    sealed_anew(world, path)
    (tmp_path / f"a.sr.other{SUPERSEDED}").write_text("somebody's own")
    kept = tmp_path / f"a.sr.{backup}{SUPERSEDED}"
    assert lying(services_of(world), backup) == [(path, f"{backup}-r1"), (kept, backup)]
    with BundleReader(kept) as file:
        assert file.address == str(kept)


def test_a_repair_of_all_that_is_bad_leaves_files_alone(world: World, tmp_path: Path) -> None:
    services = services_of(world)
    [replica] = services.store.replicas(made(world, tmp_path / "a.sr"))
    services.store.set_replica(msgspec.structs.replace(replica, good=False))
    assert degraded(services) == []
    assert open_due(services, REPAIR) == []
