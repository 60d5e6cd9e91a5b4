"""The yearly review: what its parts come to, and that the calendar asks for it until it is made."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import create_engine, text

from strongroom.config import Settings
from strongroom.operations.engine.findings import Finding, good, remark, unknown, wrong
from strongroom.operations.errors import RequirementUnmet
from strongroom.operations.evidence.compliance import CUSTODY, LOCKS, SEALING, Framework
from strongroom.operations.evidence.reports import MADE, ReviewPart, is_unmet, parts
from strongroom.targets.errors import TargetUnavailable
from strongroom.wiring.evidence import remind
from tests.operations.world import World, make_world


def part(title: str, *findings: Finding) -> ReviewPart:
    return next(one for one in parts(findings) if one.title == title)


def test_a_part_is_as_good_as_the_worst_of_what_was_found() -> None:
    title = "Access control validation"
    held, open_to_all = good(CUSTODY, "held by an HSM"), remark(LOCKS, "nothing locks")
    bad = wrong(CUSTODY, RequirementUnmet("one person can open it", hint="Add a quorum."))
    away = unknown(LOCKS, TargetUnavailable("it does not answer"))
    assert part(title, held).verdict == "met"
    assert part(title, held, open_to_all).verdict == "met, with remarks"
    assert part(title, held, away).verdict == "could not tell"
    found = part(title, held, bad, away)
    assert (found.verdict, found.lines[0].to_do) == ("not met", "Add a quorum.")


def test_a_part_of_which_nothing_was_looked_at_is_not_called_met() -> None:
    found = part("Backup encryption assessment", good(CUSTODY, "held by an HSM"))
    assert (found.verdict, found.lines, is_unmet(found)) == ("could not tell", (), True)


def test_each_framework_is_a_part_and_each_control_a_line() -> None:
    audits = [one for one in parts([good(SEALING, "sealed")]) if one.title.startswith("Compliance audit")]
    assert [one.title.rpartition(" ")[2] for one in audits] == list(Framework)
    assert {"3.5.1 stored account data cannot be read"} == {
        line.what for line in audits[3].lines if line.state == "met"
    }


def age_first_event(world: World, *, days: int) -> None:
    engine = create_engine(world.database)
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE events SET at = at - {days * 86_400} WHERE id = 1"))
    engine.dispose()


def test_the_calendar_asks_for_the_review_until_it_is_made(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    services = world.services()
    services.store.event("key.checked", bad=[])
    assert not remind(services, Settings(state_dir=tmp_path)).bad  # it was set up today
    age_first_event(world, days=31)
    asked = remind(services, Settings(state_dir=tmp_path))
    assert asked.bad == ("the security review of this year is missing",)
    assert "strongroom reports review --output" in asked.do
    services.store.event(MADE, sha256="00", until="2026-11-27T00:00:00Z")
    assert not remind(services, Settings(state_dir=tmp_path)).bad
