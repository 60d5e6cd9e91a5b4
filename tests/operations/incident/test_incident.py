"""An incident: what a leaked key opens is set aside, sealed anew in order of exposure, written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from strongroom.errors import ConfigError
from strongroom.keys.key_names import recipient_key
from strongroom.operations.archive.quarantine import check, quarantined, release
from strongroom.operations.errors import BackupQuarantined, KeyStillNeeded, NothingSelected
from strongroom.operations.incident.incident import (
    Incident,
    affected_by,
    open_incident,
    record,
    secrets_of,
    submit_reencryption,
)
from strongroom.operations.restore.facts import RestoreOptions
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.rotation.outcome import results
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.operations.runs.drive import drive
from strongroom.operations.services import Pinned, Services
from strongroom.state.records import RunState
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def leaked(at: Rotated) -> str:
    return recipient_key(at.old.recipient())


def opened(at: Rotated, services: Services, **fields: object) -> Incident:
    return open_incident(services, name="i1", by="ops@here", reason="a laptop was lost", **fields)  # type: ignore[arg-type]


def test_what_opens_with_the_key_now_comes_before_what_only_a_copy_opens(at: Rotated) -> None:
    rotated, fresh = at.back_up(), at.back_up()
    list(rewrap_backup(at.manifest(rotated), at.all_targets(), at.rotation()))
    found = affected_by(at.services(at.old, at.new), key=leaked(at))
    assert [(one.backup, one.opens_now) for one in found.affected] == [(fresh, True), (rotated, False)]
    assert found.unread == {}


def test_everything_affected_is_sealed_anew_and_the_record_says_what_is_still_open(at: Rotated) -> None:
    backups = [at.back_up() for _ in range(2)]
    services = at.services(at.old, at.new)
    incident = opened(at, services, key=leaked(at))
    run, tickets = submit_reencryption(services, incident, POLICY)
    done = drive(run, tickets, services, processes=1)
    assert (done.state, done.facts["backups"]) == (RunState.DONE, list(incident.policies[POLICY]))
    written = record(incident, results(services.store, run), closed_at="2026-11-25T00:00:00Z")
    assert {one["new"] for one in written["sealed_anew"]} == {f"{backup}-r1" for backup in backups}
    assert {(one["backup"], one["target"]) for one in written["still_open"]} == {
        (backup, target) for backup in backups for target in ("eu", "us", "ap")
    }


def test_nothing_is_restored_from_quarantine_until_it_is_released(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    opened(at, services, backups=[backup])
    assert quarantined(services) == {backup: "i1"}
    with pytest.raises(BackupQuarantined, match="i1"):
        check(services, backup)
    restore = submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    run = drive(*restore, services, processes=1)
    assert run.state is RunState.FAILED
    assert "BackupQuarantined" in str(run.error)
    release(services, [backup], reason="it was a false alarm")
    assert quarantined(services) == {}
    restore = submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    assert drive(*restore, services, processes=1).state is RunState.DONE


def test_what_is_set_aside_again_after_a_release_stays_aside(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    opened(at, services, backups=[backup])
    release(services, [backup], reason="looked at")
    opened(at, services, backups=[backup])
    assert quarantined(services) == {backup: "i1"}


def test_a_policy_that_still_seals_for_the_key_is_refused_and_nothing_is_set_aside(at: Rotated) -> None:
    at.back_up()
    services = at.world.services(signer_fingerprints=at.trusted)
    with pytest.raises(KeyStillNeeded, match="still seals"):
        opened(at, services, key=leaked(at))
    assert quarantined(services) == {}


def test_a_key_that_opens_nothing_makes_no_incident(at: Rotated) -> None:
    at.back_up()
    with pytest.raises(NothingSelected):
        opened(at, at.services(at.old), key="keyfile:ffff")


def test_a_backup_that_no_target_gives_counts_as_affected_until_it_is_looked_at(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    for target in at.all_targets():
        target.delete(f"manifests/{backup}.json")
    incident = opened(at, services, key=leaked(at))
    assert list(incident.unread) == [backup]
    assert [(one.backup, one.looked_at) for one in incident.affected] == [(backup, False)]
    assert quarantined(services) == {backup: "i1"}
    assert incident.policies == {}
    assert secrets_of(services, incident) == ({}, incident.unread)


def test_a_policy_that_is_gone_does_not_keep_its_backups_out_of_quarantine(at: Rotated) -> None:
    backup = at.back_up()

    def gone(policy: str) -> Pinned:
        raise ConfigError(f"there is no policy '{policy}'")

    opened(at, replace(at.services(at.old, at.new), pinned=gone), key=leaked(at))
    assert quarantined(at.services()) == {backup: "i1"}


def test_another_version_of_a_key_affects_nothing(at: Rotated) -> None:
    at.back_up()
    assert affected_by(at.services(at.old, at.new), key=leaked(at), version=7).affected == ()
