"""Statements reach a target that was away when they were made: with the heads, without anybody's doing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.container.marks import DELETION, HOLD, QUARANTINE
from strongroom.operations.archive import holds, quarantine
from strongroom.operations.archive.cases import INCIDENT, Places, add_entry, add_on
from strongroom.operations.archive.deletions import make_mark, write_deletion
from strongroom.operations.archive.recoveries import RECOVERY, RecoveryEntry, RecoveryEntryKind
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import StatementsOn
from strongroom.operations.evidence import ledger_heads
from strongroom.state.store import RunStore
from tests.operations.archive.test_cases import AT, opened
from tests.operations.archive.test_holds import Away
from tests.operations.archive.test_select_backup import put
from tests.operations.world import World, make_world


class Noting(Away):
    """Notes what is read of it."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, region=name)
        self.noted: list[str] = []

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        self.noted.append(name)
        return super().read(name, offset=offset, length=length)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path).with_targets({name: Noting(name) for name in ("eu", "us")})


def away(world: World, *names: str) -> None:
    for name, target in world.targets.items():
        target.away = name in names  # type: ignore[attr-defined]


def hourly(services: Services) -> None:
    """Do what is done every hour, and by 'ledger publish'."""
    ledger_heads.publish(services, list(services.targets))


def marks_on(services: Services, target: str, kind: object) -> dict[str, str]:
    """Return the state of each folder's mark on a target, as any host reads it."""
    place = StatementsOn(services.target(target), kind, trusted=services.signer_fingerprints)  # type: ignore[type-var, arg-type, var-annotated]
    return {folder: mark.state for folder, mark in place.all().newest.items()}


def isolate(services: Services, backup: str) -> None:
    quarantine.quarantine(services, [backup], incident="i1", reason="odd", by="anna")


SETS: dict[str, tuple[object, str, Callable[[Services, str], object]]] = {
    "quarantined": (QUARANTINE, "quarantined", isolate),
    "released": (
        QUARANTINE,
        "released",
        lambda services, backup: quarantine.release(services, [backup], reason="looked at"),
    ),
    "held": (
        HOLD,
        "held",
        lambda services, backup: holds.hold(services, "policy", "weekly", reason="case", by="anna"),
    ),
    "marked": (
        DELETION,
        "marked",
        lambda services, backup: write_deletion(
            services,
            list(services.targets.values()),
            make_mark(backup, "marked", reason="old", after="2030-01-01T00:00:00Z", run="r"),
        ),
    ),
    "undeleted": (
        DELETION,
        "undeleted",
        lambda services, backup: write_deletion(
            services, list(services.targets.values()), make_mark(backup, "undeleted", reason="no", by="anna")
        ),
    ),
}


@pytest.mark.parametrize("word", SETS)
def test_a_target_that_was_away_gets_each_kind_of_mark_with_the_heads(word: str, world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    kind, state, said = SETS[word]
    away(world, "us")
    said(services, backup)
    away(world)
    assert state not in marks_on(services, "us", kind).values()
    hourly(services)
    assert marks_on(services, "us", kind) == marks_on(services, "eu", kind)
    assert state in marks_on(services, "us", kind).values()
    before = [info.name for target in world.targets.values() for info in target.list()]
    hourly(services)
    assert [info.name for target in world.targets.values() for info in target.list()] == before


def test_a_mark_of_which_the_record_alone_knows_is_written_once_a_target_answers(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    away(world, "eu", "us")
    isolate(services, backup)
    away(world)
    hourly(services)
    assert [marks_on(services, name, QUARANTINE) for name in ("eu", "us")] == [{backup: "quarantined"}] * 2


def test_a_quarantine_on_record_undoes_no_release_by_another_host(world: World, tmp_path: Path) -> None:
    services = world.services()
    other = world.services(store=RunStore(f"sqlite:///{tmp_path / 'other.db'}"))
    backup = world.back_up(services).id
    isolate(services, backup)
    away(world, "us")
    quarantine.release(other, [backup], reason="looked at")
    away(world)
    hourly(services)
    assert [marks_on(services, name, QUARANTINE) for name in ("eu", "us")] == [{backup: "released"}] * 2


def test_what_lies_under_a_mark_s_name_keeps_it_from_no_target(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    away(world, "us")
    isolate(services, backup)
    away(world)
    put(world.targets["us"], QUARANTINE.object_name(backup, 1), b"CANARY-JUNK")
    hourly(services)
    assert marks_on(services, "us", QUARANTINE) == {backup: "quarantined"}
    hourly(services)
    places = [
        StatementsOn(services.target(name), QUARANTINE, trusted=services.signer_fingerprints)
        for name in world.targets
    ]
    eu, us = (place.newest(backup) for place in places)
    assert eu == us, "else one of them would be called unsound"


def test_a_tombstone_is_about_the_target_on_which_it_lies(world: World) -> None:
    services = world.services()
    backup = world.back_up(services).id
    gone = make_mark(backup, "deleted", reason="old", run="r")
    write_deletion(services, [world.targets["eu"]], gone)
    hourly(services)
    assert marks_on(services, "us", DELETION) == {}


def entries_on(services: Services, name: str) -> set[str]:
    target = services.target(name)
    return {info.name for kind in (INCIDENT, RECOVERY) for info in target.list(kind.prefix)}


def test_an_incident_and_a_recovery_reach_a_target_that_was_away(world: World) -> None:
    services = world.services()
    world.back_up(services)
    away(world, "us")
    add_entry(services, INCIDENT, opened())
    entry = RecoveryEntry(case="r1", number=1, at=AT, by="ops@here", about=RecoveryEntryKind.OPENED)
    places = Places(targets={"eu": services.target("eu")}, trusted=services.signer_fingerprints)
    add_on(places, RECOVERY, entry, services.signers("recover"))
    away(world)
    assert entries_on(services, "us") == set()
    hourly(services)
    assert entries_on(services, "us") == entries_on(services, "eu")
    assert len(entries_on(services, "us")) == 2


def test_cases_that_every_target_has_are_not_read_every_hour(world: World) -> None:
    services = world.services()
    add_entry(services, INCIDENT, opened())
    hourly(services)
    for target in world.targets.values():
        target.noted.clear()  # type: ignore[attr-defined]
    hourly(services)
    read = [name for target in world.targets.values() for name in target.noted]  # type: ignore[attr-defined]
    assert read
    assert not any(name.startswith(INCIDENT.prefix) for name in read)
