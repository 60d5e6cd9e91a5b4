"""Holds: what they keep, on which host they count, and what lifts them."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.container.marks import HOLD, HoldMark
from strongroom.container.signing import Signer
from strongroom.model import Selection
from strongroom.operations.archive import holds
from strongroom.operations.archive.holds import HoldSubject
from strongroom.operations.archive.spread import spread_marks
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.statements import write_mark
from strongroom.state.store import RunStore
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.memory import MemoryTarget
from tests.certified import certified
from tests.operations.world import World, make_world

NOW = 1_800_000_000.0
ANY = HoldSubject(backup="20261118T120000Z-aaaa", policy="weekly", selection=Selection())


class Away(MemoryTarget):
    """Answers nothing while it is away."""

    away = False

    def list(self, prefix: str = ""):  # type: ignore[no-untyped-def]
        if self.away:
            raise TargetUnavailable(f"target '{self.name}' does not answer")
        return super().list(prefix)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path).with_targets({name: Away(name=name, region=name) for name in ("eu", "us")})


def elsewhere(world: World, folder: Path) -> Services:
    """Return another host of the installation, with a database of its own."""
    return world.services(store=RunStore(f"sqlite:///{folder / 'other.db'}"))


def why(services: Services, subject: HoldSubject = ANY, *, now: float = NOW) -> str:
    return holds.read_holds(services, now=now).why(subject)


def place(services: Services, kind: holds.Kind, subject: str, **more: str) -> dict[str, str]:
    return holds.hold(services, kind, subject, reason="case 4711", by="anna", **more)


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("backup", ANY.backup),
        ("policy", "weekly"),
        ("tag", "team=payments"),
    ],
)
def test_a_hold_counts_on_every_host_until_it_is_lifted(
    kind: holds.Kind, subject: str, world: World, tmp_path: Path
) -> None:
    services = world.services()
    assert why(services) == ""
    assert place(services, kind, subject) == {}
    other = elsewhere(world, tmp_path)
    assert "by anna: case 4711" in why(other)
    assert holds.release(other, kind, subject, reason="settled", by="ben") == {}
    assert why(other) == ""


def test_a_hold_on_something_else_holds_nothing(world: World) -> None:
    services = world.services()
    place(services, "backup", "20261118T120000Z-bbbb")
    place(services, "policy", "daily")
    place(services, "tag", "team=payments")
    other_team = HoldSubject(backup=ANY.backup, policy="weekly", selection=Selection(tags={"team": "web"}))
    assert why(services, other_team) == ""


def test_a_hold_on_a_tag_holds_what_may_have_a_secret_with_that_tag(world: World) -> None:
    services = world.services()
    place(services, "tag", "team=payments")
    for tags in ({}, {"team": "payments"}, {"priority": "critical"}):
        assert why(services, HoldSubject(backup="x", policy="p", selection=Selection(tags=tags))), tags


def test_a_hold_on_a_backup_holds_what_it_is_sealed_anew_as(world: World) -> None:
    services = world.services()
    place(services, "backup", f"{ANY.backup}-r1")
    for backup in (ANY.backup, f"{ANY.backup}-r1", f"{ANY.backup}-r2"):
        assert why(services, HoldSubject(backup=backup, policy="p", selection=Selection())), backup


def test_a_hold_with_an_end_holds_until_then(world: World) -> None:
    services = world.services()
    place(services, "policy", "weekly", until="2027-01-15T08:00:00Z")
    assert why(services, now=1_799_999_999.0)
    assert why(services, now=1_800_000_000.0) == ""


def test_a_lost_database_lifts_no_hold_and_neither_does_an_edited_one(world: World, tmp_path: Path) -> None:
    services = world.services()
    place(services, "policy", "weekly")
    assert why(elsewhere(world, tmp_path))
    services.store.event(holds.RELEASED, of="policy", subject="weekly", reason="forged", by="nobody")
    assert why(services)


def test_a_hold_that_reached_no_target_is_on_record_here(world: World) -> None:
    services = world.services()
    for target in world.targets.values():
        target.away = True  # type: ignore[attr-defined]
    assert place(services, "policy", "weekly").keys() == {"eu", "us"}
    assert "case 4711" in why(services)
    assert holds.read_holds(services, now=NOW).unread.keys() == {"eu", "us"}


def test_a_target_that_was_away_brings_no_lifted_hold_back(world: World) -> None:
    services = world.services()
    place(services, "policy", "weekly")
    world.targets["us"].away = True  # type: ignore[attr-defined]
    holds.release(services, "policy", "weekly", reason="settled", by="ben")
    world.targets["us"].away = False  # type: ignore[attr-defined]
    assert why(services) == ""


def test_the_last_word_is_brought_to_the_targets_that_did_not_hear_it(world: World, tmp_path: Path) -> None:
    services, other = world.services(), elsewhere(world, tmp_path)
    eu, us = world.targets["eu"], world.targets["us"]
    for word in ("held", "released"):
        us.away = True  # type: ignore[attr-defined]
        if word == "held":
            place(services, "policy", "weekly")
        else:
            holds.release(services, "policy", "weekly", reason="settled", by="ben")
        us.away, eu.away = False, True  # type: ignore[attr-defined]
        assert bool(why(other)) == (word == "released"), "not yet"
        eu.away = False  # type: ignore[attr-defined]
        spread_marks(services, services.targets)
        eu.away = True  # type: ignore[attr-defined]
        assert bool(why(other)) == (word == "held")
        eu.away = False  # type: ignore[attr-defined]
    before = [info.name for target in (eu, us) for info in target.list()]
    spread_marks(services, services.targets)
    assert [info.name for target in (eu, us) for info in target.list()] == before


def test_a_hold_on_record_alone_is_written_once_a_target_answers(world: World, tmp_path: Path) -> None:
    services = world.services()
    for target in world.targets.values():
        target.away = True  # type: ignore[attr-defined]
    place(services, "policy", "weekly")
    for target in world.targets.values():
        target.away = False  # type: ignore[attr-defined]
    assert not why(elsewhere(world, tmp_path))
    spread_marks(services, services.targets)
    assert why(elsewhere(world, tmp_path))


def test_what_a_stranger_signed_neither_holds_nor_lifts(world: World) -> None:
    services = world.services()
    place(services, "policy", "weekly")
    stranger = certified("control", installation=Signer.generate())
    for state in ("held", "released"):
        subject = "weekly" if state == "released" else "daily"
        mark = HoldMark(
            kind="policy",
            subject=subject,
            number=1,
            state=state,
            reason="x",
            by="x",
            at="2027-01-01T00:00:00Z",
            until="",
        )
        write_mark(
            list(world.targets.values()),
            HOLD,
            mark,
            signer=stranger,
            trusted=services.signer_fingerprints,
            ahead=9,
        )
    found = holds.read_holds(services, now=NOW)
    assert [mark.subject for mark in found.standing] == ["weekly"]
    assert len(found.aside) == 2


def test_a_row_that_somebody_edited_hides_no_hold(world: World) -> None:
    services = world.services()
    services.store.event(holds.HELD, of="nonsense", subject=7)
    place(services, "policy", "weekly")
    assert why(services)
    services.store.event(holds.HELD, of="policy", subject="daily", reason="", by="", until="never")
    assert why(services, HoldSubject(backup="x", policy="daily", selection=Selection()))
