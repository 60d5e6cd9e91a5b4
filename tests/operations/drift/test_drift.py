"""A policy's newest backup beside its source: what drifted, what froze, and what a person accepted."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from strongroom.container.marks import HoldMark
from strongroom.errors import SourceError
from strongroom.model import ListedSecret, Secret, SecretBytes, SecretVersion, Selection
from strongroom.operations.archive import holds
from strongroom.operations.checks.drift import MassChangeLimits
from strongroom.operations.checks.drift_job import drift_spec
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.submit import submit
from strongroom.sources.errors import SourceUnavailable
from strongroom.sources.memory import MemoryStore
from strongroom.state.records import Run, RunState
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.operations.world import POLICY, World, made_up, make_world

LIMITS = MassChangeLimits(mass_change_percent=30, mass_change_least=5)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = make_world(tmp_path)
    made.back_up()
    return made


def drift(world: World, **changed: Any) -> Run:
    services = world.services(**changed)
    run, tickets = submit(services, drift_spec(services, POLICY, LIMITS))
    return drive(run, tickets, services, processes=1)


def encrypt(world: World, count: int, *, salt: str = "") -> None:
    """Do as somebody would who holds secrets to ransom."""
    for secret in made_up(count):
        value = SecretBytes(f"CANARY-RANSOM-{salt}{secret.name}".encode())
        held = replace(secret, versions=(SecretVersion(number=1, value=value),))
        world.source._held[secret.name] = (held,)


def counts(run: Run, beside: str = "newest") -> tuple[int, int, int]:
    found = run.facts["drift"][beside]
    return found["changed"], found["missing"], found["unread"]


def standing(world: World) -> dict[str, HoldMark]:
    return {mark.subject: mark for mark in holds.read_holds(world.services(), now=time.time()).standing}


def release(world: World) -> None:
    assert not holds.release(world.services(), "policy", POLICY, reason="it was wanted", by="a person")


def test_what_changed_is_missing_and_is_new_is_counted_and_no_fault(world: World) -> None:
    encrypt(world, 2)
    world.source.delete(["app/0007"])
    world.source._held["new/one"] = (replace(made_up(1)[0], name="new/one"),)
    run = drift(world)
    assert run.state is RunState.DONE
    assert (counts(run), run.facts["drift"]["extra"]) == ((2, 1, 0), 1)
    assert not standing(world)


def test_what_the_policy_does_not_select_is_not_extra(world: World) -> None:
    world.source._held["other/one"] = (replace(made_up(1)[0], name="other/one"),)
    chosen = world.with_spec(selection=Selection(include=("app/*",)))
    assert drift(chosen).facts["drift"]["extra"] == 0


def test_a_new_version_and_a_lost_old_one_are_changes(tmp_path: Path) -> None:
    versions = tuple(SecretVersion(number=n, value=SecretBytes(b"CANARY-%d" % n)) for n in (1, 2))
    secrets = [replace(one, versions=versions) for one in made_up(3)]
    world = make_world(tmp_path, secrets=secrets)
    world.back_up()
    third = SecretVersion(number=3, value=SecretBytes(b"CANARY-3"))
    world.source._held["app/0000"] = (replace(secrets[0], versions=(*versions, third)),)
    world.source._held["app/0001"] = (replace(secrets[1], versions=versions[1:]),)
    assert counts(drift(world)) == (2, 0, 0)


@pytest.mark.parametrize("attack", ["encrypts", "deletes"])
def test_an_attack_on_all_secrets_freezes_retention_and_is_told_in_counts_alone(
    world: World, attack: str
) -> None:
    if attack == "encrypts":
        encrypt(world, 30)
    else:
        world.source.delete([secret.name for secret in made_up(30)])
    run = drift(world)
    assert run.state is RunState.DEGRADED
    assert (run.error or "").startswith("MassChange: 30 secrets ")
    hold = standing(world)[POLICY]
    assert (hold.by, hold.until) == (f"drift run {run.id}", "")
    assert hold.reason.startswith("mass change: 30 secrets ")
    assert not re.search("app/|CANARY", f"{run.facts}{hold}{run.error}")


def test_an_attack_that_was_backed_up_before_anybody_looked_is_found(world: World) -> None:
    drift(world)
    encrypt(world, 30)
    world.back_up()
    run = drift(world)
    assert (counts(run), counts(run, "since")) == ((0, 0, 0), (30, 0, 0))
    assert POLICY in standing(world)


def test_half_before_the_backup_and_half_after_it_is_one_attack(world: World) -> None:
    drift(world)
    encrypt(world, 8)
    world.back_up()
    world.source.delete([secret.name for secret in made_up(16)[8:]])
    run = drift(world)
    assert (counts(run), counts(run, "since")) == ((0, 8, 0), (8, 8, 0))
    assert POLICY in standing(world)


def test_the_alarm_stays_until_the_hold_is_released_and_places_no_second_hold(world: World) -> None:
    drift(world)
    encrypt(world, 30)
    world.back_up()
    first, second = drift(world), drift(world)
    assert (first.state, second.state) == (RunState.DEGRADED, RunState.DEGRADED)
    assert standing(world)[POLICY].number == 1


@pytest.mark.parametrize("backed_up", [False, True])
def test_a_change_that_was_wanted_is_not_frozen_again_after_its_hold_was_released(
    world: World, backed_up: bool
) -> None:
    encrypt(world, 30)
    drift(world)
    drift(world)
    release(world)
    if backed_up:
        world.back_up()
    world.source.delete(["app/0003"])  # life goes on meanwhile
    assert [drift(world).state for _ in range(3)] == [RunState.DONE] * 3
    assert not standing(world)


@pytest.mark.parametrize("backed_up", [False, True])
def test_another_mass_change_after_a_wanted_one_is_frozen(world: World, backed_up: bool) -> None:
    encrypt(world, 30)
    drift(world)
    release(world)
    if backed_up:
        world.back_up()
    assert drift(world).state is RunState.DONE
    encrypt(world, 30, salt="again-")
    assert drift(world).state is RunState.DEGRADED
    assert standing(world)[POLICY].number == 3


def test_a_hold_that_somebody_only_removed_was_not_released(world: World) -> None:
    encrypt(world, 30)
    drift(world)
    for target in world.targets.values():
        for name in [info.name for info in target.list("holds/")]:
            target.delete(name)
    assert drift(world).state is RunState.DEGRADED
    assert POLICY in standing(world)


def test_releasing_a_hold_that_a_person_had_placed_accepts_no_attack(world: World) -> None:
    holds.hold(world.services(), "policy", POLICY, reason="a case", by="law")
    encrypt(world, 30)
    drift(world)
    assert standing(world)[POLICY].by == "law"
    release(world)
    assert drift(world).state is RunState.DEGRADED
    assert standing(world)[POLICY].by.startswith("drift run ")


def test_a_source_that_is_away_has_not_drifted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(self: MemoryStore, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        raise SourceUnavailable("it does not answer")

    monkeypatch.setattr(MemoryStore, "read", away)
    run = drift(world)
    assert (run.state, "drift" in run.facts) == (RunState.FAILED, False)
    assert not standing(world)


def test_a_server_that_lists_what_it_does_not_give_proves_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def partly(self: MemoryStore, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        yield from (None for _ in entries)

    monkeypatch.setattr(MemoryStore, "read", partly)
    run = drift(world)
    assert (run.state, counts(run)) == (RunState.DEGRADED, (0, 0, 30))
    assert "the source did not give 30 secrets that it has" in (run.error or "")
    assert not standing(world)


def test_secrets_that_may_not_be_read_are_not_called_changed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = MemoryStore.read

    def refusing(self: MemoryStore, entries: Sequence[ListedSecret]) -> Iterator[Secret | None]:
        for entry in entries:
            if entry.name < "app/0020":
                raise SourceError("may not be read")
            yield from read(self, [entry])

    monkeypatch.setattr(MemoryStore, "read", refusing)
    assert counts(drift(world)) == (0, 0, 20)
    assert not standing(world)


def test_another_key_of_digests_compares_nothing_and_freezes_nothing(world: World) -> None:
    run = drift(world, digest_key=os.urandom(32))
    assert run.state is RunState.FAILED
    assert "was made with another key of digests than this host has" in (run.error or "")
    assert not standing(world)


def test_a_host_without_a_key_compares_nothing(world: World) -> None:
    run = drift(world, identities=lambda: ())
    assert run.state is RunState.FAILED
    assert (run.error or "").startswith("drift: NothingOpens")


def test_where_the_backup_to_judge_by_is_gone_the_newest_is_and_that_is_said(world: World) -> None:
    first = drift(world).spec.backup
    world.back_up()
    for target in world.targets.values():
        target.delete(f"manifests/{first}.json")
    run = drift(world)
    assert run.state is RunState.DEGRADED
    assert f"backup {first}, which it was to be judged by, could not be used" in (run.error or "")
    assert drift(world).state is RunState.DONE


def test_where_no_target_takes_the_hold_it_stands_on_record_and_the_alarm_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*_: object, **__: object) -> bool:
        raise TargetUnavailable("it takes nothing")

    encrypt(world, 30)
    with monkeypatch.context() as patched:
        patched.setattr(MemoryTarget, "put", refusing)
        run = drift(world)
    assert run.state is RunState.DEGRADED
    assert re.match("MassChange: .*; the hold is not on ap, eu, us$", run.error or "")
    assert POLICY in standing(world)
