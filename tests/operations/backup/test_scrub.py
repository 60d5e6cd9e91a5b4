"""Verification that covers: what is due is read, by one reader a target, and damage is repaired at once."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NoReturn

import pytest
from msgspec import structs

from strongroom.container.errors import WrongKey
from strongroom.container.marks import DELETION, DeletionMark
from strongroom.container.signing import Signers
from strongroom.errors import ConfigError, KeyServiceError, StrongroomError
from strongroom.model import Depth
from strongroom.operations.archive.inventory import put_damaged_on_record
from strongroom.operations.backup.repair import BY_RECORD
from strongroom.operations.backup.scrub import ContainerPlace, make_spec, place_of
from strongroom.operations.backup.verified_share import VerificationScope, describe, standing
from strongroom.operations.backup.verify import spec_about
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.layout import manifest_name
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import write_mark
from strongroom.operations.engine.steps import perform, reconcile
from strongroom.operations.engine.submit import open_due, submit
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.state.errors import RecordRefused
from strongroom.state.records import Replica, Run, RunKind, RunState, RunStep, StepKind
from strongroom.targets import Target, TargetIdentity
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.backup.planted import KINDS, Planted, delete_the_manifest
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, World, made_up, make_world
from tests.targets.flaky import FlakyTarget, gone


class Away(FlakyTarget):
    """A target that answers to nothing, or still shows names when it gives no content any more."""

    def __init__(self, target: Target, *, shows: bool) -> None:
        super().__init__(*[gone()] * 500)
        self.place = TargetIdentity(
            name=target.name, region=target.region, provider=target.provider, address=target.address
        )
        assert isinstance(target, MemoryTarget)
        self._objects = target._objects
        self.list = target.list if shows else self.list  # type: ignore[method-assign]


OPTIONS = VerificationScope(span=30 * 86_400.0, interval=3600.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def scrub(services: Services, **options: object) -> Run:
    run, tickets = submit(services, make_spec(services, structs.replace(OPTIONS, **options)))
    return drive(run, tickets, services, processes=1)


def forget_checks(services: Services, *, age: float = 29 * 86_400.0) -> None:
    """Have everything be due."""
    services.store.put_checks(
        [structs.replace(one, checked_at=one.checked_at - age) for one in services.store.checks()]
    )


def test_a_new_backup_is_on_record_as_read_on_every_target(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    containers = services.store.backup(backup).containers
    checks = services.store.checks()
    assert {(one.target, one.piece) for one in checks} == {
        (target, piece) for target in world.targets for piece in range(-1, containers)
    }
    assert {one.depth for one in checks if one.piece >= 0} == {Depth.COMPARED}
    assert scrub(services).facts["plan"]["pieces"] == 0


def test_what_is_due_is_read_as_deep_as_the_keys_allow(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    run = scrub(services)
    assert (run.state, run.error) == (RunState.DONE, None)
    checks = services.store.checks()
    assert run.facts["plan"]["pieces"] == len(checks)
    assert min(one.checked_at for one in checks) >= run.created_at
    assert {one.depth for one in checks if one.piece >= 0} == {Depth.COMPARED}


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    """A world with two backups, both rotated to a new key."""
    made = Rotated(tmp_path, secrets=made_up(6), pieces=2)
    for backup in (made.back_up(), made.back_up()):
        list(rewrap_backup(made.manifest(backup), made.all_targets(), made.rotation()))
    return made


def whole_everywhere(at: Rotated, services: Services) -> None:
    """Have every backup be read from each target by the new key, and by no other."""
    for entry in services.store.backups():
        assert all(replica.good for replica in services.store.replicas(entry.backup))
        for target in at.all_targets():
            assert at.opened(entry.backup, target, at.new) == 6
            with pytest.raises(WrongKey):
                at.opened(entry.backup, target, at.old)


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_found_by_the_next_slice_and_repaired_in_one_go(kind: str, at: Rotated) -> None:
    plant, found = KINDS[kind]
    services = at.services(at.new)
    backup, older = services.store.names(POLICY)
    forget_checks(services)
    plant(Planted(at.world.targets["us"], backup, older))

    run = scrub(services)

    assert run.state is RunState.DEGRADED
    assert run.error is not None
    assert re.search(rf"{backup} on us: its \w+( 0)?: ({found})", run.error)
    whole_everywhere(at, services)
    [repair] = [each for each in services.store.runs() if each.spec.kind is RunKind.REPAIR]
    assert (repair.spec.backup, repair.state) == (backup, RunState.DONE)
    assert list(run.facts["report"]["started"]) == [repair.id]
    [told] = services.store.events(kind="replica.repaired")
    assert (told.detail["backup"], told.detail["target"]) == (backup, "us")
    assert re.search(found, told.detail["why"])
    forget_checks(services)
    assert scrub(services).state is RunState.DONE


def test_damage_that_is_found_while_another_is_repaired_is_not_vouched_for(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    put_damaged_on_record(services.store, {("us", backup): "Tampered"}, {("us", backup): {0}})
    _, tickets = submit(services, spec_about(services, RunKind.REPAIR, backup, options=BY_RECORD))
    while tickets and tickets[0].step.kind is not StepKind.VERIFY:
        tickets = perform(tickets[0], services)
    put_damaged_on_record(services.store, {("us", backup): "Tampered"}, {("us", backup): {1}})
    run = drive(tickets[0].run, tickets, services, processes=1)

    assert (run.state, bad(services, backup)) == (RunState.DONE, [])
    found = standing(services.store, OPTIONS, now=time.time())
    assert (found.all.never, found.targets["us"].never) == (1, 1)
    assert scrub(services).facts["plan"]["pieces"] == 1


def test_a_replica_that_somebody_finds_damaged_as_a_slice_ends_stays_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = world.services()
    backup = world.back_up(services).id
    forget_checks(services)
    store, known, began = services.store, services.store.replicas_of, services.store.clock()

    def before_it_is_found(backups: Sequence[str]) -> dict[str, list[Replica]]:
        found = known(backups)
        if min(one.checked_at for one in store.checks()) >= began:
            put_damaged_on_record(store, {("us", backup): "Tampered"})
        return found

    monkeypatch.setattr(store, "replicas_of", before_it_is_found)
    run, tickets = submit(services, make_spec(services, OPTIONS))
    drive(run, tickets, services, processes=1)
    assert [replica.target for replica in bad(services, backup)] == ["us"]


# -- what is read, and by whom -----------------------------------------------------------


def test_a_replica_of_which_everything_was_read_is_verified_as_deep_as_its_shallowest_container(
    world: World,
) -> None:
    services = world.services()
    backup = world.back_up(services).id
    forget_checks(services)
    seen = [
        structs.replace(one, verified=Depth.PRESENT, verified_at=1.0)
        for one in services.store.replicas(backup)
    ]
    for replica in seen:  # as a rebuilt catalog has them
        services.store.set_replica(replica)
    run = scrub(services)
    for replica in services.store.replicas(backup):
        assert (replica.good, replica.verified) == (True, Depth.COMPARED)
        assert replica.verified_at is not None
        assert replica.verified_at >= run.created_at


def test_a_container_is_fetched_once_though_it_is_compared_and_opened(tmp_path: Path) -> None:
    at = Rotated(tmp_path, secrets=made_up(6), pieces=1)
    backup = at.back_up()
    services = at.services(at.old)
    forget_checks(services)
    for target in at.counting():
        target.forget()
    scrub(services)
    size = at.manifest(backup).containers[0].size
    for target in at.counting():
        spans = [(start, end) for name, start, end in target.spans if name.startswith("containers/")]
        assert sum(end - start for start, end in spans) == size


def test_one_container_of_a_target_is_read_at_a_time_whoever_reads(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    run, tickets = submit(services, make_spec(services, OPTIONS))
    read = 0
    while tickets:
        tickets = [due for ticket in tickets for due in perform(ticket, services)]
        waiting = Counter(ticket.step.target for ticket in tickets if ticket.step.kind is StepKind.VERIFY)
        assert set(waiting.values()) <= {1}
        read += waiting.total()
    assert services.store.load(run).state is RunState.DONE
    assert read == len(services.store.checks())


def test_no_second_slice_begins_while_one_is_being_read(world: World) -> None:
    services = world.services()
    entry = Scheduled(name="verification", kind=RunKind.SCRUB, schedule="0 * * * *", options={"span": 1e6})
    now = 1_800_000_000.0
    assert len(open_due(services, [entry], now=now)) == 1
    [run] = services.store.active()
    assert run.spec.options["interval"] == 3600.0
    assert open_due(services, [entry], now=now + 3600) == []
    drive(run.id, services.store.take_ready(run.id, window=8), services, processes=1)
    assert len(open_due(services, [entry], now=now + 3600)) == 1  # the slot that waited


def test_a_run_that_was_killed_goes_on_where_it_was(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    run, tickets = submit(services, make_spec(services, OPTIONS))
    tickets = perform(tickets[0], services)
    for ticket in tickets[:1]:
        perform(ticket, services)
    services.store.claim(tickets[1], owner="killed", lease=0.01)  # died over this one
    ended = drive(run, (), world.services(), processes=1)
    assert (ended.state, ended.error) == (RunState.DONE, None)
    assert min(one.checked_at for one in services.store.checks()) >= ended.created_at


def test_a_cancelled_run_keeps_what_it_read_and_has_the_damage_repaired(at: Rotated) -> None:
    services = at.services(at.new)
    backup, older = services.store.names(POLICY)
    forget_checks(services)
    delete_the_manifest(Planted(at.world.targets["us"], backup, older))
    run, [plan] = submit(services, make_spec(services, OPTIONS))
    for ticket in perform(plan, services):
        perform(ticket, services)
    services.store.cancel(run)
    ended = drive(run, services.store.take_ready(run, window=8), services, processes=1)
    assert ended.state is RunState.CANCELLED
    read = [one for one in services.store.checks() if one.checked_at >= ended.created_at]
    assert {one.target for one in read} == {"ap", "eu", "us"}
    assert not bad(services, backup)


def test_in_a_cluster_the_repair_waits_for_nothing_but_the_next_reconcile(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    services.target("us").delete(manifest_name(backup))
    run, tickets = submit(services, make_spec(services, OPTIONS))
    while tickets:
        tickets = [due for ticket in tickets for due in perform(ticket, services)]
    [ticket] = reconcile(services)
    repair = services.store.load(ticket.run)
    assert (repair.spec.kind, repair.spec.backup) == (RunKind.REPAIR, backup)
    assert services.store.load(run).facts["report"]["started"] == [repair.id]


@pytest.mark.parametrize("step", [RunStep(StepKind.VERIFY, 1, "eu"), RunStep(StepKind.VERIFY, 0, "us")])
def test_a_step_that_was_not_planned_is_refused(step: RunStep) -> None:
    planned = (ContainerPlace(backup="b", target="eu", piece=0),)
    assert place_of(planned, RunStep(StepKind.VERIFY, 0, "eu")) == planned[0]
    with pytest.raises(RecordRefused):
        place_of(planned, step)


def bad(services: Services, backup: str) -> list[Replica]:
    return [replica for replica in services.store.replicas(backup) if not replica.good]


def test_a_target_that_is_away_is_said_and_the_others_are_read(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    away = Away(services.target("us"), shows=False)
    run = scrub(replace(services, targets={**services.targets, "us": away}))
    assert run.state is RunState.DEGRADED
    assert run.error is not None
    assert run.error.startswith("TargetUnavailable: not verified on us: ")
    fresh = {one.target for one in services.store.checks() if one.checked_at >= run.created_at}
    assert fresh == {"eu", "ap"}
    assert not bad(services, services.store.backups()[0].backup)


def test_a_target_that_goes_away_while_it_is_read_damages_nothing(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    forget_checks(services)
    going = Away(services.target("us"), shows=True)
    run = scrub(replace(services, targets={**services.targets, "us": going}))
    assert run.state is RunState.DEGRADED
    assert "not verified on us" in (run.error or "")
    assert not bad(services, backup)


def test_a_host_without_a_key_compares_digests(world: World) -> None:
    services = world.services(identities=lambda: ())
    world.back_up()
    forget_checks(services)
    run = scrub(services)
    assert run.state is RunState.DONE
    assert {row.result["depth"] for row in services.store.rows(run.id, StepKind.VERIFY) if row.result} == {
        "digest"
    }


@pytest.mark.parametrize("kind", [KeyServiceError, ConfigError])
def test_a_key_service_that_is_away_or_a_pin_to_be_typed_leaves_the_digests(
    world: World, kind: type[StrongroomError]
) -> None:
    def away() -> NoReturn:
        raise kind("the HSM does not answer, or wants a PIN")

    services = world.services(identities=away)
    world.back_up()
    forget_checks(services)
    run = scrub(services)
    assert run.state is RunState.DONE
    assert {row.result["depth"] for row in services.store.rows(run.id, StepKind.VERIFY) if row.result} == {
        "digest"
    }


def test_a_backup_whose_signer_is_distrusted_by_now_is_read_all_the_same(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    distrusted = {world.signers[role].fingerprint: "2026-01-01: leak" for role in ("control", "seal")}
    trusted = Signers(services.signer_fingerprints, distrusted=distrusted)
    run = scrub(replace(services, signer_fingerprints=trusted))
    assert (run.state, run.error) == (RunState.DONE, None)
    assert run.facts["plan"]["pieces"] == len(services.store.checks())


# -- what is not read ------------------------------------------------------------------


def test_what_the_record_does_not_know_is_counted_and_not_called_verified(world: World) -> None:
    services = world.services()
    world.back_up(services)
    name, sha256 = "manifests/20200101T000000Z-other.json", hashlib.sha256(b"{}").digest()
    services.target("us").put(name, [b"{}"], size=2, sha256=sha256)
    run = scrub(services)
    assert run.facts["outside"] == {"us": 1}
    found = standing(services.store, OPTIONS, now=run.created_at)
    assert found.outside == {"us": 1}
    [covered, outside] = describe(found, now=run.created_at)
    assert covered.startswith("100 % verified: 12 of 12 containers and manifests read within 30 days")
    assert outside.startswith("target 'us' has 1 backup that the record does not know: not verified.")


def test_media_in_a_safe_are_left_alone_and_counted_apart(world: World) -> None:
    services = world.services()
    world.back_up(services)
    forget_checks(services)
    run = scrub(services, offline=(POLICY,), media=("us",))
    assert [pin.name for pin in run.spec.targets] == ["eu", "ap"]
    assert run.facts["plan"]["pieces"] == 0
    found = standing(services.store, structs.replace(OPTIONS, offline=(POLICY,)), now=run.created_at)
    assert (found.all.containers, found.offline) == (0, 12)


@pytest.mark.parametrize(("state", "read"), [("marked", False), ("deleted", False), ("undeleted", True)])
def test_a_backup_that_is_to_be_deleted_is_neither_read_nor_repaired(
    world: World, state: Literal["marked", "undeleted", "deleted"], read: bool
) -> None:
    services = world.services()
    backup = world.back_up(services).id
    forget_checks(services)
    mark = DeletionMark(
        backup_id=backup,
        number=1,
        state=state,
        after="2026-11-26T00:00:00Z" if state == "marked" else "",
        reason="no rule keeps it",
        run="",
        by="",
        at="2026-11-19T00:00:00Z",
    )
    signer = certified("prune", installation=world.installation)
    targets = [services.target("ap")]
    trusted = services.signer_fingerprints
    assert write_mark(targets, DELETION, mark, signer=signer, trusted=trusted) == {}
    services.target("us").delete(manifest_name(backup))
    run = scrub(services)
    assert (run.facts["plan"]["pieces"] > 0, run.state is RunState.DEGRADED) == (read, read)
    found = standing(services.store, OPTIONS, now=run.created_at + 2 * OPTIONS.span)
    assert (found.all.late > 0, found.going) == (read, int(not read))


def test_another_host_on_the_same_targets_verifies_its_own_backups_and_counts_the_others(
    tmp_path: Path,
) -> None:
    world = make_world(tmp_path, secrets=made_up(4), pieces=1)
    other = replace(world, database=f"sqlite:///{tmp_path / 'other.db'}")
    mine, theirs = world.services(), other.services()
    world.back_up(mine)
    other.back_up(theirs)
    for services in (mine, theirs):
        forget_checks(services)
        run = scrub(services)
        assert (run.state, run.facts["plan"]["pieces"]) == (RunState.DONE, 6)
        assert run.facts["outside"] == {"ap": 1, "eu": 1, "us": 1}
