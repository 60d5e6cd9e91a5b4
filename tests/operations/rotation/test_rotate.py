"""Rotation as a run: every backup of a policy, and what becomes of those that do not go through."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from strongroom.container.errors import WrongKey
from strongroom.errors import UsageError
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive import open as open_backup
from strongroom.operations.archive.envelopes import envelope_name, wrapping_keys
from strongroom.operations.archive.open import backup_ids, read_manifest
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify import newest
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.restore.by_record import open_anywhere
from strongroom.operations.rotation import reencrypt
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Replica, Run, RunState
from strongroom.targets.errors import TargetUnavailable
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, World, names_on


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def rotate(services: Services, **options: object) -> Run:
    run, tickets = submit_rotation(services, policy=POLICY, options=RotateOptions(**options))  # type: ignore[arg-type]
    return drive(run, tickets, services, processes=1)


def finish(submitted: tuple[str, list], services: Services) -> Run:  # type: ignore[type-arg]
    return drive(*submitted, services, processes=1)


def test_every_backup_of_the_policy_is_rotated(at: Rotated) -> None:
    backups = [at.back_up() for _ in range(3)]
    services = at.services(at.old, at.new)
    run = rotate(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    assert [one["backup"] for one in results(services.store, run.id)] == sorted(backups)
    for backup in backups:
        assert [at.opened(backup, target, at.new) for target in at.all_targets()] == [30] * 3


def test_the_report_says_what_the_old_key_still_opens_and_where(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    (result,) = results(services.store, rotate(services).id)
    assert [(one["target"], one["until"]) for one in result["still"]] == [
        ("eu", ""),
        ("us", ""),
        ("ap", ""),
    ]
    assert {one["fingerprints"][0] for one in result["still"]} == {at.old.recipient().fingerprint}


@pytest.mark.parametrize("anew", [False, True])
def test_a_medium_that_is_away_is_missed_and_what_it_opens_for_is_told(
    at: Rotated, monkeypatch: pytest.MonkeyPatch, *, anew: bool
) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    medium = services.target("ap")
    for call in ("read", "list", "put"):
        monkeypatch.setattr(medium, call, _away)
    run, tickets = submit_rotation(services, policy=POLICY, options=RotateOptions(reencrypt=anew))
    done = drive(run, tickets, services, processes=1)
    assert done.state is RunState.DEGRADED
    (result,) = results(services.store, run)
    assert list(result["missed"]) == ["ap"]
    still = {one["target"]: (one["reached"], one["until"]) for one in result["still"]}
    assert still == {"eu": (True, ""), "us": (True, ""), "ap": (False, "unknown")}
    monkeypatch.undo()
    assert at.opened(backup, medium, at.old) == 30


def _away(*arguments: object, **options: object) -> None:
    raise TargetUnavailable("the medium is in the safe")


def test_a_target_that_the_policy_does_not_name_any_more_is_told_too(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    services.store.set_replica(
        Replica(backup=backup, target="old-safe", good=True, verified=None, verified_at=None)
    )
    (result,) = results(services.store, rotate(services).id)
    assert [one["target"] for one in result["still"] if not one["reached"]] == ["old-safe"]


def test_sealed_anew_for_keys_of_the_same_names_the_old_backup_counts_as_open_to_all_of_them(
    at: Rotated,
) -> None:
    at.back_up()
    services = at.world.services(signer_fingerprints=at.trusted)
    options = RotateOptions(reencrypt=True, renew=True)
    run, tickets = submit_rotation(services, policy=POLICY, options=options)
    assert drive(run, tickets, services, processes=1).state is RunState.DONE
    (result,) = results(services.store, run)
    assert len(result["still"]) == 3


def test_a_backup_that_no_key_here_opens_costs_the_others_nothing(at: Rotated) -> None:
    first, second = at.back_up(), at.back_up()
    third = KeyFileIdentity(os.urandom(32))
    away = at.rotation(recipients=(third.recipient(),))
    list(rewrap_backup(at.manifest(first), at.all_targets(), away))
    run = rotate(at.services(at.old, at.new))
    assert run.state is RunState.DEGRADED
    assert run.error is not None
    assert run.error.startswith("1 of 2 backups was not rotated: WrongKey")
    assert at.opened(second, at.world.targets["eu"], at.new) == 30


def test_a_row_that_names_another_reader_is_refused(at: Rotated, tmp_path: Path) -> None:
    at.back_up()
    stranger = Rotated.__new__(Rotated)
    stranger.__dict__ |= at.__dict__
    stranger.recipient = type(at.recipient)(os.urandom(32), label="stranger")
    submitted = submit_rotation(stranger.services(at.old), policy=POLICY)
    run = finish(submitted, at.services(at.old, at.new))
    assert run.state is RunState.FAILED
    assert run.error is not None
    assert RecordRefused.__name__ in run.error
    assert not [name for name in names_on(at.world.targets["eu"]) if name.startswith("keys/")]


def test_two_rotations_of_one_policy_do_not_run_at_once(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    submitted = submit_rotation(services, policy=POLICY)
    with pytest.raises(UsageError, match="is going on"):
        submit_rotation(services, policy=POLICY)
    assert finish(submitted, services).state is RunState.DONE


# -- reading afterwards --------------------------------------------------------


def test_verify_finds_a_target_whose_envelope_was_put_back_and_repair_carries_it(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services)
    (key,) = wrapping_keys(at.manifest(backup))
    at.world.targets["us"].delete(envelope_name(key, 2))
    verified = finish(submit_verify(services, backup=backup), services)
    assert verified.state is RunState.DEGRADED
    assert {row.error.partition(":")[0] for row in services.store.rows(verified.id) if row.error} == {"Stale"}
    assert finish(submit_repair(services, backup=backup), services).state is RunState.DONE
    assert at.opened(backup, at.world.targets["us"], at.new) == 30


def test_a_restore_takes_the_target_that_was_not_rolled_back(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    run = rotate(services)
    (key,) = wrapping_keys(at.manifest(backup))
    at.world.targets["eu"].delete(envelope_name(key, 2))
    opened = open_anywhere(run, at.services(at.new))
    assert opened.manifest.backup_id == backup


# -- sealing anew --------------------------------------------------------------


def test_sealed_anew_the_old_key_opens_nothing_of_the_new_backup(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    run = rotate(services, reencrypt=True)
    assert (run.state, run.error) == (RunState.DONE, None)
    (result,) = results(services.store, run.id)
    new = result["new"]
    assert (new, result["verified"]) == (f"{backup}-r1", "compared")
    for target in at.all_targets():
        assert at.opened(new, target, at.new) == 30
        with pytest.raises(WrongKey):
            at.opened(new, target, at.old)
        assert at.opened(backup, target, at.old) == 30
    manifests = [read_manifest(at.world.targets["eu"], one, trusted=at.trusted) for one in (backup, new)]
    keys = [{entry.wrapping_key for entry in manifest.containers} for manifest in manifests]
    digests = [{entry.sha256 for entry in manifest.containers} for manifest in manifests]
    assert not keys[0] & keys[1]
    assert not digests[0] & digests[1]
    assert manifests[1].previous is not None
    assert newest(services, POLICY) == new
    assert backup_ids(at.world.targets["eu"])[-1] == new


def test_what_was_sealed_anew_is_on_record_as_read_and_no_later_than_it_was(
    at: Rotated, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup, read = at.back_up(), list[float]()

    def read_back(*given: Any) -> int:
        read.append(time.time())
        return open_backup.read_back(*given)

    monkeypatch.setattr(reencrypt, "read_back", read_back)
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    new = services.store.backup(f"{backup}-r1")
    assert new is not None
    checks = services.store.checks([new.backup])
    assert len(checks) == 3 * (1 + new.containers)
    times = {each.checked_at for each in checks}
    times |= {each.verified_at or 0.0 for each in services.store.replicas(new.backup)}
    assert max(times) <= min(read)


def test_sealing_anew_twice_makes_one_backup(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    before = {target.name: names_on(target) for target in at.all_targets()}
    assert rotate(services, reencrypt=True).state is RunState.DONE
    assert {target.name: names_on(target) for target in at.all_targets()} == before


def test_after_a_rewrap_to_a_key_that_leaks_sealing_anew_still_does_something(at: Rotated) -> None:
    """A backup whose own envelope names the wanted key, but which was re-wrapped for another."""
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services)
    home: World = at.world
    back = home.services(identities=lambda: (at.old, at.new), signer_fingerprints=at.trusted)
    run = rotate(back, reencrypt=True)
    assert run.state is RunState.DONE
    assert at.opened(f"{backup}-r1", home.targets["eu"], at.old) == 30


def test_what_a_dead_attempt_left_is_swept_once_there_is_a_new_backup(at: Rotated) -> None:
    backup = at.back_up()
    eu = at.world.targets["eu"]
    content = b"left by an attempt that died"

    digest = hashlib.sha256(content)
    eu.put(
        f"containers/{backup}-r1/{digest.hexdigest()}", [content], size=len(content), sha256=digest.digest()
    )
    assert rotate(at.services(at.old, at.new), reencrypt=True).state is RunState.DONE
    new = read_manifest(eu, f"{backup}-r1", trusted=at.trusted)
    kept = {name.rpartition("/")[2] for name in names_on(eu) if name.startswith(f"containers/{backup}-r1/")}
    assert kept == {entry.sha256 for entry in new.containers}


def test_a_backup_that_is_being_made_for_earlier_keys_is_told(at: Rotated) -> None:
    at.back_up()
    began, tickets = submit_backup(at.world.services(), policy=POLICY)
    run = rotate(at.services(at.old, at.new))
    assert run.state is RunState.DEGRADED
    assert began in str(run.error)
    drive(began, tickets, at.world.services(), processes=1)
    assert rotate(at.services(at.old, at.new)).state is RunState.DONE
    assert at.opened(began, at.world.targets["eu"], at.new) == 30
