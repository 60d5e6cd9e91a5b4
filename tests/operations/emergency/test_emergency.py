"""When an emergency backup is due, waited for and overdue; and what lies beside it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest

from strongroom.operations.archive.open import read_manifest
from strongroom.operations.backup.medium import (
    GRACE,
    NOTICE,
    MediumState,
    furnish,
    medium_status,
    recovery_files,
    remind,
)
from strongroom.operations.backup.recovery_kit import Kit, KitSection, render
from strongroom.schedule import next_slot
from strongroom.targets.directory import MARKER, DirectoryTarget
from tests.operations.world import POLICY, World, make_world, names_on
from tests.slots import monthly

MONTHLY = "0 3 1 * *"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_before_its_first_backup_a_slot_waits_and_then_is_overdue(world: World) -> None:
    services, due = world.services(), at("2026-11-01T03:00:00")
    waiting = medium_status(services, policy=POLICY, schedule=MONTHLY, now=due + 60)
    assert (waiting.state, waiting.due_at, waiting.can_run) == (MediumState.WAITING, due, True)
    late = medium_status(services, policy=POLICY, schedule=MONTHLY, now=due + GRACE + 1)
    assert late.state is MediumState.OVERDUE


def test_a_backup_after_the_slot_is_enough_until_the_next_one(world: World) -> None:
    made = world.back_up().created_at
    services, schedule = world.services(), monthly()
    assert medium_status(services, policy=POLICY, schedule=schedule, now=made + 1).state is MediumState.DONE
    next_month = made + 32 * 86_400
    assert (
        medium_status(services, policy=POLICY, schedule=schedule, now=next_month).state
        is not MediumState.DONE
    )


def test_without_a_schedule_nothing_is_ever_due(world: World) -> None:
    assert medium_status(world.services(), policy=POLICY, schedule=None).state is MediumState.DONE


def test_a_medium_that_is_away_is_named_and_nothing_can_run(world: World, tmp_path: Path) -> None:
    medium = DirectoryTarget(tmp_path / "medium", name="eu", region="eu")
    services = world.services(targets={**world.targets, "eu": medium})
    found = medium_status(services, policy=POLICY, schedule=MONTHLY, now=at("2026-11-02T00:00:00"))
    assert list(found.absent) == ["eu"]
    assert not found.can_run
    medium.prepare()
    assert medium_status(services, policy=POLICY, schedule=MONTHLY, now=at("2026-11-02T00:00:00")).can_run
    (tmp_path / "medium" / MARKER).unlink()
    assert not medium_status(services, policy=POLICY, schedule=MONTHLY, now=at("2026-11-02T00:00:00")).can_run


def test_people_are_reminded_once_a_day(world: World) -> None:
    services = world.services()
    waiting = medium_status(services, policy=POLICY, schedule=MONTHLY, now=at("2026-11-02T00:00:00"))
    assert [remind(services, waiting) for _ in range(3)] == [True, False, False]
    [event] = services.store.events(kind="emergency.waiting")
    assert event.detail["policy"] == POLICY


def test_people_are_reminded_three_days_before_a_medium_is_needed(world: World) -> None:
    services = world.services()
    world.back_up(services)
    made = datetime.fromisoformat(services.store.backups()[0].created_at).timestamp()
    due = next_slot(MONTHLY, made)
    assert due is not None
    early = medium_status(services, policy=POLICY, schedule=MONTHLY, now=due - NOTICE - 1)
    assert (early.state, remind(services, early)) == (MediumState.DONE, False)
    soon = medium_status(services, policy=POLICY, schedule=MONTHLY, now=due - NOTICE)
    assert (soon.state, soon.due_at, soon.can_run) == (MediumState.COMING, due, False)
    assert remind(services, soon)
    assert services.store.events(kind="emergency.coming")[0].detail["due_at"] == due


def test_what_is_done_reminds_nobody(world: World) -> None:
    services = world.services()
    assert not remind(services, medium_status(services, policy=POLICY, schedule=None))
    assert services.store.events(kind="emergency.done") == []


def test_checksums_cover_the_backup_and_all_that_lies_beside_it(world: World) -> None:
    backup = world.back_up().id
    target = world.targets["eu"]
    manifest = read_manifest(target, backup, trusted=None)
    names = furnish(target, manifest, {"RUNBOOK.md": b"what to do"})
    sums = b"".join(target.read(f"emergency/{backup}/SHA256SUMS")).decode().splitlines()
    listed = {line.split("  ")[1]: line.split("  ")[0] for line in sums}
    assert set(listed) | {names[-1]} == set(names_on(target))
    for name, digest in listed.items():
        assert hashlib.sha256(b"".join(target.read(name))).hexdigest() == digest


def test_furnishing_again_replaces_what_an_earlier_attempt_left(world: World) -> None:
    backup = world.back_up().id
    target = world.targets["eu"]
    manifest = read_manifest(target, backup, trusted=None)
    furnish(target, manifest, {"RUNBOOK.md": b"old words"})
    furnish(target, manifest, {"RUNBOOK.md": b"new words"})
    assert b"".join(target.read(f"emergency/{backup}/RUNBOOK.md")) == b"new words"


def test_the_tool_and_the_format_are_at_hand() -> None:
    assert set(recovery_files()) == {
        "recover.py",
        "recover_extra.py",
        "requirements.txt",
        "wheels.txt",
        "README.md",
        "FORMAT.md",
    }


def test_a_page_of_the_kit_shows_what_others_wrote_as_text() -> None:
    section = KitSection(
        title="<script>", words=("a & b",), head=("<b>",), rows=(("<i>",),), commands=("x < y",)
    )
    html = render(Kit(title="Kit", made_at="2026-11-25T00:00:00Z", sections=(section,)))
    assert "<script>" not in html
    assert "<i>" not in html
    assert "a &amp; b" in html
    assert "x &lt; y" in html
    assert "http" not in html.replace("http-equiv", "")
