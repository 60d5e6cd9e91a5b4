"""Cases: what counts of them, wherever it lies, and what each place is given."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as changed

from strongroom.container.signing import Signers
from strongroom.errors import StrongroomError
from strongroom.model import ObjectInfo
from strongroom.operations.archive.cases import (
    INCIDENT,
    IncidentEntry,
    IncidentStep,
    Opening,
    Places,
    Suspicion,
    add_entry,
    next_command,
    read_cases,
    read_incidents,
    read_on,
    spread_case,
    steps_of,
)
from strongroom.operations.engine.services import Services
from strongroom.targets import Target
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.world import World, make_world

AT = "2026-01-31T00:00:00Z"
OPENING = Opening(
    suspicion=Suspicion(keys=("keyfile:00",)), since=AT, due_at=AT, affected=(), unread={}, gone=()
)


class Away(MemoryTarget):
    """A target that does not answer."""

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise TargetUnavailable(f"it is away and lists no '{prefix}'")


def put(target: Target, name: str, content: bytes) -> None:
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def another_host(world: World, folder: Path) -> Services:
    """Return a host with the same configuration and a record of its own, on which nothing happened."""
    return replace(world, database=f"sqlite:///{folder / 'other.db'}").services()


def opened(**fields: object) -> IncidentEntry:
    return changed(
        IncidentEntry(
            case="i1", number=1, at=AT, by="ops@here", step=IncidentStep.OPEN, state="done", said="lost"
        ),
        **{"opening": OPENING, **fields},
    )


def step(step: IncidentStep, state: str = "done", **fields: object) -> IncidentEntry:
    return opened(step=step, state=state, opening=None, **fields)


def test_another_host_finds_a_case_on_the_targets_and_goes_on(world: World, tmp_path: Path) -> None:
    here = world.services()
    add_entry(here, INCIDENT, opened())
    add_entry(here, INCIDENT, step(IncidentStep.ISOLATE))
    there = another_host(world, tmp_path)
    assert next_command(read_incidents(there).incidents["i1"]) == "strongroom incident readers i1"
    add_entry(there, INCIDENT, step(IncidentStep.READERS, by="ops@there"))
    assert [one.state for one in steps_of(read_incidents(here).incidents["i1"])][:3] == [
        "done",
        "done",
        "open",
    ]
    record = Places(targets={}, trusted=there.signer_fingerprints, store=there.store)
    assert len(read_on(record, INCIDENT).entries["i1"]) == 3


def test_entries_that_two_hosts_number_alike_stand_both(world: World, tmp_path: Path) -> None:
    here, there = world.services(), another_host(world, tmp_path)
    add_entry(here, INCIDENT, opened())
    spread_case(there, INCIDENT, "i1")
    east, west = (
        replace(one, targets={name: one.targets[name]}) for one, name in ((here, "eu"), (there, "us"))
    )
    for services, said in ((east, IncidentStep.ISOLATE), (west, IncidentStep.READERS)):
        assert add_entry(services, INCIDENT, step(said)).entry.number == 2
    assert [one.step for one in read_cases(here, INCIDENT, "i1").entries["i1"]][1:] == [
        IncidentStep.ISOLATE,
        IncidentStep.READERS,
    ]


def test_a_target_that_was_away_is_given_all_that_it_missed(world: World) -> None:
    services = world.services()
    away = Away(name="ap", region="ap")
    partly = replace(services, targets={**services.targets, "ap": away})
    assert set(add_entry(partly, INCIDENT, opened()).missed) == {"ap"}
    assert set(add_entry(partly, INCIDENT, step(IncidentStep.ISOLATE)).missed) == {"ap"}
    assert spread_case(services, INCIDENT, "i1") == {}
    assert len(list(services.targets["ap"].list("incidents/i1/"))) == 2


def test_what_a_stranger_or_an_edited_record_says_of_a_case_does_not_count(world: World) -> None:
    services = world.services()
    add_entry(services, INCIDENT, opened())
    closing = step(IncidentStep.CLOSE, number=2)
    forged = INCIDENT.sign(closing, certified("control"))
    name = INCIDENT.name_of(closing, forged)
    put(services.targets["eu"], name, forged)
    services.store.event("incident.entered", case="i1", name=name, signed=forged.decode())
    known = read_incidents(services)
    assert known.incidents["i1"].closed is None
    assert "UntrustedSigner" in known.aside[name]


def test_what_a_signer_said_who_is_distrusted_since_counts_by_the_record_and_is_signed_anew(
    world: World, tmp_path: Path
) -> None:
    add_entry(world.services(), INCIDENT, opened())
    leaked = world.signers["control"].fingerprint
    control = certified("control", installation=world.installation)
    distrusted = Signers({world.installation.fingerprint}, distrusted={leaked: f"{AT}: leaked"})
    after = replace(world, signers={**world.signers, "control": control})
    here = after.services(signer_fingerprints=distrusted)
    there = replace(another_host(after, tmp_path), signer_fingerprints=distrusted)
    assert read_incidents(there).incidents == {}
    assert list(read_incidents(here).incidents) == ["i1"]
    spread_case(here, INCIDENT, "i1")
    assert [len(one.entries) for one in read_incidents(here).incidents.values()] == [1]
    assert list(read_incidents(there).incidents) == ["i1"]


def test_an_entry_copied_into_another_case_does_not_count(world: World) -> None:
    services = world.services()
    add_entry(services, INCIDENT, opened())
    add_entry(services, INCIDENT, opened(case="i2"))
    target = services.targets["eu"]
    closing = INCIDENT.sign(step(IncidentStep.CLOSE, number=2), services.signers("control"))
    moved = INCIDENT.name_of(step(IncidentStep.CLOSE, number=2), closing).replace("/i1/", "/i2/")
    put(target, moved, closing)
    assert all(one.closed is None for one in read_incidents(services).incidents.values())


def test_a_case_that_a_killed_process_put_on_record_alone_reaches_the_targets(world: World) -> None:
    services = world.services()
    nowhere = replace(services, targets={name: Away(name=name, region=name) for name in services.targets})
    assert set(add_entry(nowhere, INCIDENT, opened()).missed) == set(services.targets)
    assert spread_case(services, INCIDENT, "i1") == {}
    assert all(list(target.list("incidents/i1/")) for target in services.targets.values())


@pytest.mark.parametrize(
    "entry",
    [
        opened(case="../i1"),
        opened(at="yesterday"),
        opened(opening=None),
        opened(said="\x1b[2J"),
        step(IncidentStep.OPEN),
    ],
)
def test_an_entry_that_says_what_none_may_is_not_signed(world: World, entry: IncidentEntry) -> None:
    with pytest.raises(StrongroomError):
        add_entry(world.services(), INCIDENT, entry)
