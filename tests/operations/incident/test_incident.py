"""An incident from suspicion to closure: what a leaked key opens is isolated, sealed anew and changed."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
from msgspec.structs import replace as replace_struct

from strongroom.errors import ConfigError, UsageError
from strongroom.keys.allof import recipient_key
from strongroom.keys.errors import RoleNotHere
from strongroom.model import ListedSecret, Role, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive import holds
from strongroom.operations.archive.cases import (
    STEPS,
    Incident,
    IncidentStep,
    StepOutcome,
    Suspicion,
    incidents_on_record,
    next_command,
    read_incidents,
    steps_of,
)
from strongroom.operations.archive.quarantine import check, on_record, quarantine, release
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Pinned, Services
from strongroom.operations.errors import (
    BackupQuarantined,
    IncidentClosed,
    KeyStillSeals,
    NoSuchIncident,
    NothingSelected,
    StepsOpen,
)
from strongroom.operations.procedures.incident import (
    close,
    find_incident,
    isolate,
    record_outcome,
    require_open,
    reseal,
    sealed_anew,
    waive,
)
from strongroom.operations.procedures.incident_exposure import compromised_names, rotate
from strongroom.operations.procedures.incident_opening import affected_by, find_readers, open_case
from strongroom.operations.procedures.incident_report import write_report
from strongroom.operations.restore.job import submit_restore
from strongroom.operations.restore.staged import RestoreOptions
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.sources import SecretChange
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import RunKind, RunState
from strongroom.state.store import RunStore
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from strongroom.times import rfc3339
from tests.operations.rotation.rotating import Rotated
from tests.operations.rotators.world import random_rotator
from tests.operations.world import POLICY, made_up

BY = "ops@here"


class Away(MemoryTarget):
    """A target that answers nothing."""

    def list(self, prefix: str = "") -> Any:
        raise TargetUnavailable(f"target '{self.name}' does not list '{prefix}'")


class AwaySource(MemoryStore):
    """A source that answers nothing."""

    def read(self, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        raise SourceUnavailable(f"it does not give {len(entries)}")


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path, secrets=made_up(12), pieces=1)


def leaked(at: Rotated) -> str:
    return recipient_key(at.old.recipient())


def opened(services: Services, **suspected: Any) -> Incident:
    secrets = suspected.pop("secrets", ())
    suspicion = Suspicion(**suspected)
    return open_case(services, suspicion, by=BY, reason="a laptop was lost", secrets=secrets).incident


def sealed(services: Services, incident: Incident) -> StepOutcome:
    return reseal(services, incident, driven_by=lambda run, due: drive(run, due, services, processes=1))


def done(services: Services, incident: Incident, step: IncidentStep, outcome: StepOutcome) -> Incident:
    return record_outcome(services, incident, step, outcome, by=BY).incident


def waived(services: Services, incident: Incident) -> Incident:
    for step in STEPS:
        incident = waive(services, incident, step, reason="a false alarm", by=BY).incident
    return incident


def states(incident: Incident) -> Mapping[IncidentStep, str]:
    return {one.step: one.state for one in steps_of(incident)}


def another_host(services: Services, folder: Path) -> Services:
    """Return a host of the same installation with a record of its own, which knows what the targets show."""
    store = RunStore(f"sqlite:///{folder / 'another.db'}")
    for entry in services.store.backups():
        store.put_backup(entry)
        for replica in services.store.replicas(entry.backup):
            store.set_replica(replica)
    return replace(services, store=store)


# -- what is affected --------------------------------------------------------------


def test_what_opens_with_the_key_now_comes_before_what_only_a_copy_opens(at: Rotated) -> None:
    rotated, fresh = at.back_up(), at.back_up()
    list(rewrap_backup(at.manifest(rotated), at.all_targets(), at.rotation()))
    found = affected_by(at.services(at.old, at.new), Suspicion(keys=(leaked(at),)))
    assert [(one.backup, one.opens_now) for one in found.affected] == [(fresh, True), (rotated, False)]
    assert found.unread == {}


def test_another_version_of_a_key_affects_nothing(at: Rotated) -> None:
    at.back_up()
    suspicion = Suspicion(keys=(leaked(at),), version=7)
    assert affected_by(at.services(at.old, at.new), suspicion).affected == ()


def test_a_compromised_host_affects_what_was_captured_on_it(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    host = services.owner.partition(":")[0]
    assert [one.backup for one in affected_by(services, Suspicion(host=host)).affected] == [backup]
    assert affected_by(services, Suspicion(host="elsewhere")).affected == ()
    later = rfc3339(time.time() + 3600)
    assert affected_by(services, Suspicion(host=host), since=later).affected == ()


def test_a_key_that_opens_nothing_makes_no_incident(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old)
    with pytest.raises(NothingSelected):
        opened(services, keys=("keyfile:ffff",))
    assert read_incidents(services).incidents == {}


def test_a_policy_that_still_seals_for_the_key_is_refused_and_nothing_is_on_record(at: Rotated) -> None:
    at.back_up()
    services = at.world.services(signer_fingerprints=at.trusted)
    with pytest.raises(KeyStillSeals, match="still seals"):
        opened(services, keys=(leaked(at),))
    assert read_incidents(services).incidents == {}


def test_an_index_of_names_that_is_still_sealed_to_the_key_is_refused(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    to_old = replace_struct(services.pinned(POLICY), index_recipients=(at.old.recipient(),))
    with pytest.raises(KeyStillSeals, match="index of names"):
        opened(replace(services, pinned=lambda policy: to_old), keys=(leaked(at),))
    assert read_incidents(services).incidents == {}


def test_a_policy_that_is_gone_does_not_keep_its_backups_out_of_quarantine(at: Rotated) -> None:
    backup = at.back_up()

    def gone(policy: str) -> Pinned:
        raise ConfigError(f"there is no policy '{policy}'")

    services = replace(at.services(at.old, at.new), pinned=gone)
    isolate(services, opened(services, keys=(leaked(at),)), by=BY)
    assert list(on_record(at.services().store)) == [backup]


def test_a_backup_that_no_target_gives_counts_as_affected_until_it_is_looked_at(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    held = {target.name: b"".join(target.read(f"manifests/{backup}.json")) for target in at.counting()}
    for target in at.all_targets():
        target.delete(f"manifests/{backup}.json")
    incident = opened(services, keys=(leaked(at),))
    assert [(one.backup, one.looked_at) for one in incident.affected] == [(backup, False)]
    assert list(compromised_names(services, incident).unlisted) == [backup]
    assert f"backup {backup}" in sealed(services, incident).missing
    for target in at.counting():
        content = held[target.name]
        target.put(
            f"manifests/{backup}.json",
            [content],
            size=len(content),
            sha256=hashlib.sha256(content).digest(),
        )
    again = opened(services, keys=(leaked(at),))
    assert (again.id, again.opening.unread) == (incident.id, {})


def test_an_incident_that_is_opened_twice_is_one(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    first, second = opened(services, keys=(leaked(at),)), opened(services, keys=(leaked(at),))
    assert (first.id, len(second.entries)) == (second.id, 1)


def test_what_is_found_to_be_affected_later_has_the_steps_done_again(at: Rotated) -> None:
    first = at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    incident = done(services, incident, IncidentStep.ISOLATE, isolate(services, incident, by=BY))
    incident = done(services, incident, IncidentStep.RESEAL, sealed(services, incident))
    incident = done(services, incident, IncidentStep.REPORT, StepOutcome())
    late = at.back_up()  # a run that began before the key was taken out of the policy
    incident = opened(services, keys=(leaked(at),))
    assert [states(incident)[step] for step in (IncidentStep.ISOLATE, IncidentStep.RESEAL)] == [
        "partly",
        "partly",
    ]
    incident = done(services, incident, IncidentStep.ISOLATE, isolate(services, incident, by=BY))
    incident = done(services, incident, IncidentStep.RESEAL, sealed(services, incident))
    incident = done(services, incident, IncidentStep.REPORT, StepOutcome())
    assert [
        states(incident)[step] for step in (IncidentStep.ISOLATE, IncidentStep.RESEAL, IncidentStep.REPORT)
    ] == ["done"] * 3
    assert set(on_record(services.store)) == {first, late} == set(sealed_anew(incident))


# -- its steps ---------------------------------------------------------------------


def test_nothing_is_restored_from_quarantine_until_it_is_released(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, backups=(backup,))
    assert isolate(services, incident, by=BY).missing == {}
    with pytest.raises(BackupQuarantined, match=incident.id):
        check(services, backup)
    restore = submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    run = drive(*restore, services, processes=1)
    assert run.state is RunState.FAILED
    assert "BackupQuarantined" in str(run.error)
    release(services, [backup], reason="it was a false alarm")
    restore = submit_restore(services, backup=backup, options=RestoreOptions(destination="vault"))
    assert drive(*restore, services, processes=1).state is RunState.DONE


def test_what_a_person_released_since_is_not_isolated_again(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, backups=(backup,))
    isolate(services, incident, by=BY)
    release(services, [backup], reason="looked at")
    isolate(services, incident, by=BY)
    assert on_record(services.store) == {}
    quarantine(services, [backup], incident=incident.id, reason="looked again")
    assert list(on_record(services.store)) == [backup]


def test_a_target_that_was_away_is_isolated_when_it_is_back_and_only_that(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    partly = replace(services, targets={**services.targets, "ap": Away(name="ap", region="ap")})
    incident = opened(partly, keys=(leaked(at),))
    assert set(isolate(partly, incident, by=BY).missing) == {"ap"}
    assert isolate(services, incident, by=BY).missing == {}
    marked = {name: len(list(one.list("quarantine/"))) for name, one in services.targets.items()}
    assert marked["ap"] == 1
    again = {name: len(list(one.list(""))) for name, one in services.targets.items()}
    isolate(services, incident, by=BY)
    assert {name: len(list(one.list(""))) for name, one in services.targets.items()} == again
    assert list(on_record(services.store)) == [backup]


def test_a_hold_keeps_the_policy_while_the_incident_is_open_and_another_hold_outlives_it(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    isolate(services, incident, by=BY)
    [mark] = holds.read_holds(services, now=time.time()).standing
    assert (mark.kind, mark.subject) == ("policy", POLICY)
    close(services, waived(services, incident), reason="", by=BY)
    assert holds.read_holds(services, now=time.time()).standing == ()
    elsewhere = replace(services, targets={name: services.target(name) for name in ("eu", "us")})
    holds.hold(elsewhere, "policy", POLICY, reason="a lawsuit", by="legal")
    other = opened(services, keys=(leaked(at),))
    isolate(services, other, by=BY)
    close(services, waived(services, other), reason="", by=BY)
    assert [mark.reason for mark in holds.read_holds(services, now=time.time()).standing] == ["a lawsuit"]


def test_what_two_incidents_hold_is_held_until_both_are_closed(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    first, second = opened(services, keys=(leaked(at),)), opened(services, target="us")
    for incident in (first, second):
        isolate(services, incident, by=BY)
    for incident, held in ((first, [f"incident {second.id}"]), (second, [])):
        close(services, waived(services, incident), reason="", by=BY)
        standing = holds.read_holds(services, now=time.time()).standing
        assert [mark.reason for mark in standing] == held


def test_everything_affected_is_sealed_anew_once_also_where_the_process_died_before_it_was_on_record(
    at: Rotated,
) -> None:
    backups = [at.back_up() for _ in range(2)]
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    first = sealed(services, incident)  # killed: nothing of it is on record
    outcome = sealed(services, incident)
    assert outcome.done == first.done == {backup: f"{backup}-r1" for backup in backups}
    assert outcome.counts[f"copies of policy {POLICY} still open"] == 2 * 3
    incident = done(services, incident, IncidentStep.RESEAL, outcome)
    assert sealed(services, incident) == outcome
    assert [one.backup for one in services.store.backups() if one.backup.endswith("-r2")] == []


def test_a_target_that_was_away_gets_what_was_sealed_anew_when_the_step_is_repeated(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    partly = replace(services, targets={**services.targets, "ap": Away(name="ap", region="ap")})
    incident = opened(partly, keys=(leaked(at),))
    outcome = sealed(partly, incident)
    assert list(outcome.missing) == [f"policy {POLICY}"]
    incident = done(services, incident, IncidentStep.RESEAL, outcome)
    assert sealed(services, incident).missing == {}
    assert services.target("ap").stat(f"manifests/{backup}-r1.json") is not None


def test_another_host_goes_on_where_this_one_stopped(at: Rotated, tmp_path: Path) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    done(services, incident, IncidentStep.ISOLATE, isolate(services, incident, by=BY))
    there = another_host(services, tmp_path)
    found = find_incident(there)
    assert (found.id, next_command(found)) == (incident.id, f"strongroom incident readers {incident.id}")
    found = done(there, found, IncidentStep.READERS, find_readers(there, found))
    found = done(there, found, IncidentStep.RESEAL, sealed(there, found))
    assert sealed_anew(find_incident(services)) == {backup: f"{backup}-r1"}
    assert states(find_incident(services))[IncidentStep.ROTATE] == "open"


# -- the secrets -------------------------------------------------------------------


def change(at: Rotated, *names: str) -> None:
    """Give secrets another value at their source, as a person does."""
    for name in names:
        now = at.world.source.heads([name])[name]
        value = SecretBytes(f"CANARY-new-{name}-{now}".encode())
        secret = Secret(name=name, type="api_key", versions=(SecretVersion(number=now + 1, value=value),))
        assert at.world.source.write([SecretChange(secret=secret, expected=now)]) == 1


def test_a_secret_counts_as_changed_when_its_source_says_so_and_not_when_a_person_does(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    names = list(compromised_names(services, incident).names)
    assert len(names) == 12
    first = rotate(services, incident, by=BY)
    assert (first.outcome.counts["not changed yet"], list(first.outcome.missing)) == (12, ["12 secrets"])
    change(at, *names[:-1])
    second = rotate(services, incident, by=BY)
    assert second.unchanged.names == {"vault": (names[-1],)}
    change(at, names[-1])
    assert rotate(services, incident, by=BY).outcome.missing == {}


def test_what_has_a_rotator_is_rotated_once_and_the_rest_is_left_to_a_person(at: Rotated) -> None:
    at.back_up()
    rotator = random_rotator(selection=Selection(include=("app/000*",)))
    services = at.services(at.old, at.new, rotators=(rotator,))
    incident = opened(services, keys=(leaked(at),))
    first = rotate(services, incident, by=BY)
    assert (first.outcome.counts["rotated"], first.outcome.counts["not changed yet"]) == (10, 2)
    [run] = services.store.runs_of("vault", RunKind.ROTATE_SECRET, limit=2)
    assert run.spec.options["incident"] == incident.id
    versions = at.world.source.heads(["app/0001", "app/0011"])
    assert versions == {"app/0001": 2, "app/0011": 1}
    assert rotate(services, incident, by=BY).outcome.counts["rotated"] == 0
    assert at.world.source.heads(list(versions)) == versions


def test_the_entries_of_an_incident_name_no_secret_and_keep_none(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, secrets=("app/0001", "app/0002"))
    done(services, incident, IncidentStep.ROTATE, rotate(services, incident, by=BY).outcome)
    for target in at.all_targets():
        for info in target.list("incidents/"):
            content = b"".join(target.read(info.name))
            assert b"app/00" not in content
            assert b"CANARY-" not in content


def test_an_incident_that_begins_with_secrets_needs_no_backup_isolated(at: Rotated, tmp_path: Path) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, secrets=("app/0001",))
    assert states(incident)[IncidentStep.ISOLATE] == states(incident)[IncidentStep.RESEAL] == "not needed"
    assert opened(services, secrets=("app/0001",)).id == incident.id
    there = another_host(services, tmp_path)
    assert list(compromised_names(there, find_incident(there)).names) == ["app/0001"]
    assert rotate(there, find_incident(there), by=BY).unchanged.names == {"vault": ("app/0001",)}
    change(at, "app/0001")
    assert rotate(there, find_incident(there), by=BY).outcome.missing == {}


def test_a_named_secret_that_no_backup_holds_is_not_said_to_be_changed(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, secrets=("nowhere/1",))
    assert list(rotate(services, incident, by=BY).outcome.missing) == ["1 of the named secrets"]


def test_a_value_that_no_backup_has_yet_is_not_said_to_be_changed(at: Rotated) -> None:
    at.back_up()
    change(at, "app/0001")
    services = at.services(at.old, at.new)
    incident = opened(services, secrets=("app/0001",))
    first = rotate(services, incident, by=BY)
    assert first.unchanged.names == {"vault": ("app/0001",)}
    change(at, "app/0001")
    assert rotate(services, incident, by=BY).outcome.missing == {}


@pytest.mark.parametrize("suspected", ["key", "secret"])
def test_a_value_that_is_written_again_as_another_version_is_not_said_to_be_changed(
    at: Rotated, suspected: str
) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    about = {"keys": (leaked(at),)} if suspected == "key" else {"secrets": ("app/0001",)}
    incident = opened(services, **about)
    [secret] = at.world.source.read([ListedSecret("app/0001", 0)])
    assert secret is not None
    again = replace_struct(secret, versions=(replace_struct(secret.current, number=2),))
    assert at.world.source.write([SecretChange(secret=again, expected=1)]) == 1
    assert "app/0001" in rotate(services, incident, by=BY).unchanged.names["vault"]


def test_what_a_source_that_was_away_had_of_a_named_secret_is_said_to_be_unknown(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    away = replace(services, sources={"vault": AwaySource(name="vault")})
    incident = opened(away, secrets=("app/0001",))
    change(at, "app/0001")
    assert list(rotate(services, incident, by=BY).outcome.missing) == ["source vault at the beginning"]


def test_what_another_host_could_not_see_when_it_opened_the_incident_is_said_to_be_unknown(
    at: Rotated,
) -> None:
    at.back_up()
    change(at, "app/0001")
    services = at.services(at.old, at.new)
    elsewhere = replace(services, sources={"vault": MemoryStore(name="vault")})
    incident = opened(elsewhere, secrets=("app/0001",))
    assert list(rotate(services, incident, by=BY).outcome.missing) == [
        "1 of the named secrets at the beginning"
    ]


def test_a_source_that_has_none_of_the_secrets_is_not_said_to_have_changed_them(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    elsewhere = replace(services, sources={"vault": MemoryStore(name="vault")})
    assert list(rotate(elsewhere, incident, by=BY).outcome.missing) == ["source vault"]


def test_a_secret_that_is_gone_from_its_source_is_left_to_a_person_to_look_at(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, secrets=("app/0001",))
    at.world.source.delete(["app/0001"])
    outcome = rotate(services, incident, by=BY).outcome
    assert (outcome.missing, outcome.counts["gone from the source"]) == ({}, 1)
    assert outcome.left == (
        "1 secret is gone from the source: see that nothing takes the former values any more.",
    )


def test_what_no_key_here_opens_is_not_said_to_be_changed(at: Rotated) -> None:
    backup = at.back_up()
    incident = opened(at.services(at.old, at.new), keys=(leaked(at),))
    blind = at.services()
    assert list(rotate(blind, incident, by=BY).outcome.missing) == [f"backup {backup}"]


# -- its end -----------------------------------------------------------------------


def test_it_is_closed_only_when_every_step_is_done_or_waived_with_a_reason(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, keys=(leaked(at),))
    for step in STEPS:
        with pytest.raises(StepsOpen, match=step.value):
            close(services, incident, reason="", by=BY)
        with pytest.raises(UsageError, match="reason"):
            waive(services, incident, step, reason=" ", by=BY)
        incident = waive(services, incident, step, reason="done elsewhere", by="ada@here").incident
    closed = close(services, incident, reason="all is well", by=BY).incident
    assert [(one.by, one.said) for one in closed.entries[1:-1]] == [("ada@here", "done elsewhere")] * 5
    assert next_command(closed) == ""
    with pytest.raises(IncidentClosed):
        require_open(closed)
    with pytest.raises(NoSuchIncident, match="none"):
        find_incident(services)
    assert close(services, closed, reason="", by=BY).incident.entries == closed.entries


def test_a_compromised_target_holds_its_backups_and_seals_nothing_anew(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    incident = opened(services, target="us")
    assert [one.backup for one in incident.affected] == [backup]
    assert isolate(services, incident, by=BY).missing == {}
    assert on_record(services.store) == {}
    assert [mark.subject for mark in holds.read_holds(services, now=time.time()).standing] == [POLICY]
    assert states(incident)[IncidentStep.RESEAL] == "not needed"


def test_it_is_overdue_after_its_time_and_no_more_once_it_is_closed(at: Rotated) -> None:
    at.back_up()
    services = at.services(at.old, at.new)
    suspicion = Suspicion(keys=(leaked(at),))
    incident = open_case(services, suspicion, by=BY, reason="lost", due=3600).incident
    assert not incident.is_overdue(time.time())
    assert incident.is_overdue(time.time() + 3601)
    for step in STEPS:
        incident = waive(services, incident, step, reason="done elsewhere", by=BY).incident
    assert not close(services, incident, reason="", by=BY).incident.is_overdue(time.time() + 3601)
    on_record = incidents_on_record(services.store, trusted=services.signer_fingerprints)
    assert list(on_record) == [incident.id]


class Died(BaseException):
    """The process was killed."""


class Dying:
    """A target on which the process dies after so many more writes, of all that share the ``left``."""

    def __init__(self, target: Target, left: list[int]) -> None:
        self._target, self._left = target, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)

    def put(self, name: str, chunks: Any, *, size: int, sha256: bytes) -> bool:
        self._left[0] -= 1
        if self._left[0] < 0:
            raise Died
        return self._target.put(name, chunks, size=size, sha256=sha256)


def test_a_host_without_the_role_that_signs_marks_puts_nothing_on_record(at: Rotated) -> None:
    backup, services = at.back_up(), at.services(at.old, at.new)

    def refuse(role: Role) -> NoReturn:
        raise RoleNotHere(f"this host has no role '{role}'")

    without = replace(services, signers=refuse)
    before = services.store.events()
    for work in (
        lambda: holds.hold(without, "backup", backup, reason="case 17", by=BY),
        lambda: holds.release(without, "backup", backup, reason="over", by=BY),
        lambda: quarantine(without, [backup], incident="leak", reason="seen abroad"),
        lambda: release(without, [backup], reason="a false alarm"),
        lambda: open_case(without, Suspicion(keys=(leaked(at),)), by=BY, reason="lost"),
    ):
        with pytest.raises(RoleNotHere):
            work()
    assert services.store.events() == before


def lead(services: Services, suspicion: Suspicion) -> Incident:
    """Do what a person does who types what each command says comes next."""
    incident = open_case(services, suspicion, by=BY, reason="lost").incident
    work: Mapping[IncidentStep, Any] = {
        IncidentStep.ISOLATE: lambda: isolate(services, incident, by=BY),
        IncidentStep.READERS: lambda: find_readers(services, incident),
        IncidentStep.RESEAL: lambda: sealed(services, incident),
        IncidentStep.ROTATE: lambda: rotate(services, incident, by=BY).outcome,
        IncidentStep.REPORT: StepOutcome,
    }
    for step, perform in work.items():
        if states(incident)[step] != "done":
            incident = done(services, incident, step, perform())
    incident = close(services, incident, reason="found", by=BY).incident
    write_report(services, incident)
    return incident


def test_an_incident_whose_processes_die_over_and_over_comes_to_the_same_end(at: Rotated) -> None:
    backups = [at.back_up() for _ in range(2)]
    rotator = random_rotator(selection=Selection(include=("*",)))
    suspicion = Suspicion(keys=(leaked(at),))
    deaths, ended = 0, []
    for allowed in itertools.count(5):
        left = [allowed]
        targets: Any = {name: Dying(target, left) for name, target in at.world.targets.items()}
        services = at.services(at.old, at.new, rotators=(rotator,), targets=targets)
        try:
            ended = [lead(services, suspicion)]
        except Died:
            deaths += 1
            ended = [one for one in read_incidents(services).incidents.values() if one.closed is not None]
        if ended:
            break
    assert deaths > 5
    [incident] = ended
    close(at.services(), incident, reason="found", by=BY)  # it may have died as it lifted the hold
    whole = at.services(at.old, at.new)
    assert list(read_incidents(whole).incidents) == [incident.id]
    assert sealed_anew(incident) == {backup: f"{backup}-r1" for backup in backups}
    made = {info.name for info in whole.target("eu").list("manifests/")}
    assert made == {f"manifests/{backup}{end}.json" for backup in backups for end in ("", "-r1")}
    assert set(on_record(whole.store)) == set(backups)
    assert holds.read_holds(whole, now=time.time()).standing == ()
    assert set(at.world.source.heads([f"app/{n:04}" for n in range(12)]).values()) == {2}
