"""Beat's entries: one a policy, readable; tasks that exist; nothing kept on disk."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

import beat_schedule
from strongroom.config import Settings, load_settings
from strongroom.config.live import LiveSettings
from tests.patience import PATIENCE
from workers import names
from workers.app import Strongroom
from workers.rights import may_send
from workers.scheduler import MemoryScheduler

CONFIG = """
[policies.daily-metadata]
kind = "metadata"
targets = ["region-a", "region-b"]
schedule = "0 2 * * *"

[policies.weekly-critical]
kind = "full"
targets = ["region-a", "region-b"]
recipients = ["recovery"]
single_recipient_reason = "a test"
schedule = "30 3 * * 0"

[policies.by-hand]
kind = "metadata"
targets = ["region-a"]

[keys.recovery]
kind = "passphrase"

[calendar]
time_zone = "Europe/Berlin"
drift = false
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    file = tmp_path / "strongroom.toml"
    file.write_text(CONFIG)
    return load_settings({"STRONGROOM_STATE_DIR": str(tmp_path)}, file)


def test_each_entry_of_the_calendar_that_is_not_switched_off_is_readable(
    settings: Settings,
) -> None:
    entries = beat_schedule.entries(settings)

    built_in = set(settings.calendar.entries()) - {"drift"}
    assert set(entries) == {
        "tick",
        "reconcile",
        "policy daily-metadata",
        "policy weekly-critical",
        "ledger-head",
        *built_in,
    }
    cron = beat_schedule.Cron("30 3 * * 0", "Europe/Berlin")
    assert entries["policy weekly-critical"]["schedule"] == cron
    assert entries["policy weekly-critical"]["kwargs"] == {"entry": "weekly-critical"}


def test_every_entry_names_a_task_that_beat_may_send_to_its_queue(settings: Settings) -> None:
    for entry in beat_schedule.entries(settings).values():
        assert entry["task"] in may_send(names.BEAT)
        assert names.HOME_OF[entry["task"]] == entry["options"]["queue"]


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("0 2 * * *", datetime(2026, 11, 26, 2, 0, tzinfo=UTC)),
        ("*/15 * * * *", datetime(2026, 11, 25, 3, 0, tzinfo=UTC)),
        ("30 3 * * 7", datetime(2026, 11, 29, 3, 30, tzinfo=UTC)),
        ("0 0 13 * 5", datetime(2026, 11, 27, 0, 0, tzinfo=UTC)),  # cron: the 13th *or* a Friday
    ],
)
def test_a_cron_expression_is_due_once_at_its_time(cron: str, expected: datetime) -> None:
    started = datetime(2026, 11, 25, 2, 45, tzinfo=UTC)
    schedule = beat_schedule.at(cron, "UTC", "entry")["schedule"]

    schedule.nowfun = lambda: expected - timedelta(seconds=1)
    assert schedule.is_due(started) == (False, 1.0)

    schedule.nowfun = lambda: expected + timedelta(seconds=1)
    is_due, again = schedule.is_due(started)
    assert is_due
    assert again > 0
    assert not schedule.is_due(schedule.now()).is_due


def test_a_time_that_the_change_of_the_clock_skips_is_asked_for_right_after_the_gap() -> None:
    schedule = beat_schedule.at("30 2 * * *", "Europe/Berlin", "entry")["schedule"]
    schedule.nowfun = lambda: datetime(2026, 3, 29, 0, 59, tzinfo=UTC)

    assert schedule.is_due(datetime(2026, 3, 28, 1, 30, tzinfo=UTC)) == (False, 60.0)


def test_the_periodic_checks_are_due_when_beat_starts_and_policies_are_not(settings: Settings) -> None:
    scheduler = scheduler_of(settings)

    due = {name for name, entry in scheduler.schedule.items() if entry.is_due().is_due}

    assert due == {"tick", "reconcile", "ledger-head"}


def test_the_look_for_alerts_waits_until_what_was_due_is_begun(settings: Settings) -> None:
    told = structs.replace(settings.alerts, email=("a@example.org",))
    entry = scheduler_of(structs.replace(settings, alerts=told)).schedule["alerts"]

    assert not entry.is_due().is_due
    assert 100 < entry.is_due().next <= 120, "and no longer: a beat that starts often must come to it"


def test_beat_keeps_no_schedule_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())

    scheduler = scheduler_of(settings)
    scheduler.sync()
    scheduler.close()

    assert set(tmp_path.iterdir()) == before


def test_the_schedule_needs_no_database_no_adapter_no_job_and_no_app() -> None:
    program = (
        "import sys, beat_schedule\n"
        "heavy = {'sqlalchemy', 'workers.app', 'tasks', 'strongroom.operations'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE)


def scheduler_of(settings: Settings) -> MemoryScheduler:
    app = Strongroom(LiveSettings.fixed(settings), role=names.BEAT)
    return MemoryScheduler(app, schedule_filename="celerybeat-schedule")
