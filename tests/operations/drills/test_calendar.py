"""The drills of the calendar, as a configuration has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.config import load_settings
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.state.records import RunKind
from strongroom.wiring.calendar import calendar
from strongroom.wiring.jobs import drill_options

TARGET = '[targets.{name}]\nkind = "directory"\npath = "{name}"\nregion = "{region}"\ncreate = true\n'
POLICY = """
[keys.recovery]
kind = "keyfile"
file = "recovery.key"
[policies.full]
kind = "full"
targets = ["a", "b"]
recipients = ["recovery"]
quorum = 2
regions = 1
"""


def drills_of(
    folder: Path, more: str = "", *, regions: tuple[str, str] = ("north", "south")
) -> dict[str, Scheduled]:
    targets = [TARGET.format(name=name, region=region) for name, region in zip("ab", regions, strict=True)]
    file = folder / "strongroom.toml"
    file.write_text(f'state_dir = "{folder}/state"\n' + "".join(targets) + POLICY + more)
    settings = load_settings({}, file)
    entries = {entry.name: entry for entry in calendar(settings)}
    return {
        name: entry
        for name, entry in entries.items()
        if entry.kind is RunKind.DRILL or name.startswith("monthly-tests")
    }


def test_every_drill_is_on_by_default_with_its_reason_and_objective(tmp_path: Path) -> None:
    found = drills_of(tmp_path)
    assert list(found) == ["monthly-tests", "monthly-tests integrity", "full-drill", "failover-drill"]
    assert {entry.needs for entry in found.values()} == {""}
    assert all(entry.reason and entry.policy == "full" for entry in found.values())
    asked = {
        name: (entry.options.get("drill"), entry.options.get("objective_seconds"))
        for name, entry in found.items()
    }
    assert asked == {
        "monthly-tests": ("single", 900),
        "monthly-tests integrity": (None, None),
        "full-drill": ("full", 7200),
        "failover-drill": ("failover", 7200),
    }
    assert found["monthly-tests"].options["within_days"] == 90


def test_the_settings_of_drills_reach_the_calendar(tmp_path: Path) -> None:
    more = '[drill]\ncut_off = "b"\nwithin_days = 365\nobjective_seconds.failover = 60\n'
    found = drills_of(tmp_path, more)
    assert (found["failover-drill"].options["target"], found["full-drill"].options["target"]) == ("b", "")
    assert found["failover-drill"].options["objective_seconds"] == 60
    assert found["monthly-tests"].options["within_days"] == 365


def test_a_failover_drill_is_off_where_there_is_one_region_alone(tmp_path: Path) -> None:
    found = drills_of(tmp_path, regions=("north", "north"))
    assert found["failover-drill"].needs == "the targets of 'full' are all in one region"
    assert found["full-drill"].needs == ""


@pytest.mark.parametrize("drill", ["single", "category", "full", "failover", "emergency"])
def test_each_kind_of_drill_has_the_objective_of_the_procedures(tmp_path: Path, drill: str) -> None:
    minutes = {"single": 15, "category": 30, "full": 120, "failover": 120, "emergency": 240}
    file = tmp_path / "strongroom.toml"
    file.write_text(f'state_dir = "{tmp_path}/state"\n')
    assert drill_options(load_settings({}, file), drill).objective_seconds == 60 * minutes[drill]
