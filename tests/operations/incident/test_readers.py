"""Who read what is affected: by the access log of a host, by the ledger, and where else to look."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.operations.archive.cases import (
    BackupOpener,
    Incident,
    IncidentStep,
    Suspicion,
    read_incidents,
    steps_of,
)
from strongroom.operations.archive.quarantine import all_quarantined
from strongroom.operations.engine.services import Services
from strongroom.operations.errors import NothingSelected
from strongroom.operations.evidence import access_log
from strongroom.operations.keys.usage import pinned_key
from strongroom.operations.procedures.incident import record_outcome
from strongroom.operations.procedures.incident_opening import find_readers, open_case, readers_of
from strongroom.operations.procedures.incident_report import report_of
from strongroom.times import rfc3339
from tests.operations.world import POLICY, World, made_up, make_world

BY = "ops@here"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path, secrets=made_up(1), pieces=1)


def opened(services: Services, backup: str, since: str = "") -> Incident:
    suspicion = Suspicion(backups=(backup,))
    return open_case(services, suspicion, by=BY, reason="copied by somebody", since=since).incident


def noted(services: Services, kind: str, backup: str, *, by: str = "mallory") -> None:
    access_log.record_access(
        services.state_dir, kind, command="restore", by=by, host="laptop", backup=backup, where="eu"
    )


def did(readers: tuple[BackupOpener, ...]) -> dict[tuple[str, str], int]:
    return {(one.who, one.did): one.times for one in readers}


def test_who_opened_an_affected_backup_is_found_and_who_opened_another_is_not(world: World) -> None:
    services = world.services()
    mine, other = world.back_up().id, world.back_up().id
    for kind in (access_log.ATTEMPTED, access_log.OPENED, access_log.ATTEMPTED, access_log.OPENED):
        noted(services, kind, mine)
    noted(services, access_log.RESTORED, f"backup {mine}")
    noted(services, access_log.OPENED, other, by="ada")
    noted(services, access_log.RESTORED, f"backup {mine}-r1", by="ada")
    found = find_readers(services, opened(services, mine))
    who = "mallory@laptop, restore"
    assert did(found.readers) == {(who, "opened"): 2, (who, "restored"): 1}
    assert {one.backups for one in found.readers} == {(mine,)}


def test_an_attempt_of_which_nothing_more_is_known_counts(world: World) -> None:
    services, backup = world.services(), world.back_up().id
    noted(services, access_log.ATTEMPTED, backup)
    noted(services, access_log.FAILED, backup)
    noted(services, access_log.ATTEMPTED, backup)  # and the process was killed
    who = "mallory@laptop, restore"
    assert did(find_readers(services, opened(services, backup)).readers) == {
        (who, "tried, and no key fitted"): 1,
        (who, "began to open"): 1,
    }


def test_what_was_opened_before_the_time_that_the_incident_goes_back_to_is_left_out(world: World) -> None:
    services, backup = world.services(), world.back_up().id
    noted(services, access_log.OPENED, backup)
    assert find_readers(services, opened(services, backup, since=rfc3339(4e9))).readers == ()


def test_who_read_what_a_key_opens_is_told_before_an_incident_puts_it_into_quarantine(world: World) -> None:
    services, backup = world.services(), world.back_up().id
    noted(services, access_log.OPENED, backup)
    [key] = {pinned_key(pin) for pin in services.pinned(POLICY).spec.recipients}
    found = readers_of(services, Suspicion(keys=(key,)), again="strongroom incident readers --key laptop")
    assert did(found.readers) == {("mallory@laptop, restore", "opened"): 1}
    assert "'strongroom incident readers --key laptop'" in found.left[0]
    assert not read_incidents(services).incidents
    assert not all_quarantined(services)
    with pytest.raises(NothingSelected):
        readers_of(services, Suspicion(keys=("hpke:another",)), again="")


def test_it_says_where_each_target_and_each_other_host_would_tell_of_more_readers(world: World) -> None:
    services, backup = world.services(), world.back_up().id
    said = find_readers(services, opened(services, backup)).left
    assert {name for name in services.targets if any(f"'{name}'" in line for line in said)} == {
        "eu",
        "us",
        "ap",
    }
    assert "On each other host" in said[0]


def test_the_report_adds_up_what_two_hosts_found(world: World, tmp_path: Path) -> None:
    services, backup = world.services(), world.back_up().id
    incident = opened(services, backup)
    noted(services, access_log.OPENED, backup)
    incident = record_outcome(
        services, incident, IncidentStep.READERS, find_readers(services, incident), by=BY
    ).incident
    elsewhere = BackupOpener(
        who="eve@other", did="opened", times=3, first=rfc3339(1), last=rfc3339(2), backups=(backup,)
    )
    outcome = find_readers(services, incident)
    there = record_outcome(
        services, incident, IncidentStep.READERS, type(outcome)(readers=(elsewhere,)), by="ops@other"
    ).incident
    assert [one.who for one in report_of(there).readers] == ["mallory@laptop, restore", "eve@other"]
    [standing] = [one for one in steps_of(there) if one.step is IncidentStep.READERS]
    assert standing.outcome.readers == report_of(there).readers
    assert standing.outcome.counts["readers"] == 2
