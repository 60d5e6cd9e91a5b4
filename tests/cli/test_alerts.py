"""alerts send, as cron runs it: on a machine of its own, to a mail server of its own."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.config.schema import ConfigProblems
from strongroom.container.errors import Stale
from strongroom.errors import ConfigError, UsageError
from strongroom.operations.errors import BackupOverdue, MailRefused, WarningsRaised
from strongroom.state.errors import StateUnavailable
from strongroom.state.store import RunStore
from strongroom.targets.errors import TargetUnavailable
from tests.cli.program import REGIONS, Machine
from tests.live.certificates import server_context
from tests.operations.alerts.mail_server import MailServer
from workers import names

PASSWORD = "CANARY-mail-password"
ADDRESS = "alerts@example.org"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MailServer]:
    context, _ = server_context(tmp_path)
    with MailServer(tls="starttls", context=context, logins={"me": PASSWORD}) as server:
        yield server


@pytest.fixture
def house(configured: Machine, server: MailServer, tmp_path: Path) -> Machine:
    """A machine with a daily policy, and a mail server in its configuration."""
    secret = configured.path("mail-password")
    secret.touch(mode=0o600)
    secret.write_text(f"{PASSWORD}\n")
    shutil.copy(tmp_path / "certificate.pem", configured.path("mail-ca.pem"))
    file = configured.path("strongroom.toml")
    file.write_text(
        file.read_text().replace(
            "[policies.full]\n",
            '[policies.full]\nschedule = "0 2 * * *"\nsingle_recipient_reason = "a test"\n',
        )
        + f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nusername = "me"\n'
        'password_file = "mail-password"\nca_file = "mail-ca.pem"\nsender = "strongroom@example.org"\n'
        "[alerts]\nnotice = 86_400\n"  # the server's certificate holds for a day
    )
    configured.began_long_ago()
    configured.ok("backup", "--policy", "metadata", "--force")  # which makes the targets
    return configured


def alerts(machine: Machine, *words: str) -> tuple[int, list[str], list[str]]:
    """Return the exit code, what is wrong, and what was told."""
    done = machine.run("alerts", "send", "--json", *words)
    assert "CANARY" not in done.out + done.err
    keys = [alert["key"] for alert in done.document["alerts"] if alert["kind"] != "certificate.ending"]
    routes = done.document["routes"]
    told = [key for route in routes for key in route["told"] if not key.startswith("certificate")]
    return done.code, keys, told


def test_the_line_of_the_procedures_tells_what_is_wrong_until_it_is_not(
    house: Machine, server: MailServer
) -> None:
    words = ("--email", ADDRESS, "--threshold-age", "1m")
    assert alerts(house, *words) == (
        BackupOverdue.exit_code,
        ["backup.overdue:full"],
        ["backup.overdue:full"],
    )
    assert alerts(house, *words) == (BackupOverdue.exit_code, ["backup.overdue:full"], [])
    house.ok("backup", "--policy", "full", "--force")
    code, keys, told = alerts(house, *words)
    assert (code in (0, WarningsRaised.exit_code), keys, told) == (True, [], [])
    assert [mail.recipients for mail in server.mails] == [(ADDRESS,)] * 2
    assert all(mail.sealed and mail.user == "me" for mail in server.mails)
    assert "backup.overdue:full" in server.mails[0].text
    assert "1 resolved" in server.mails[1].subject
    assert not any(b"CANARY" in mail.raw or b"JWT_SECRET_KEY" in mail.raw for mail in server.mails)


def test_without_an_address_it_prints_and_sends_nothing(house: Machine, server: MailServer) -> None:
    done = house.run("alerts", "send")
    assert done.failed_with(BackupOverdue)
    assert "CRITICAL  backup.overdue:full" in done.out
    assert "strongroom backup --policy full" in done.out
    assert "Nobody is notified" in done.out
    assert server.mails == []


def test_a_dry_run_says_who_would_be_told_and_tells_nobody(house: Machine, server: MailServer) -> None:
    done = house.run("alerts", "send", "--dry-run", "--email", ADDRESS)
    assert done.failed_with(BackupOverdue)
    assert server.mails == []
    assert f"to {ADDRESS}" in done.out
    assert alerts(house, "--email", ADDRESS)[2] == ["backup.overdue:full"], "nothing was put on record"
    assert alerts(house, "--email", ADDRESS, "--all")[2] == ["backup.overdue:full"]


def test_a_dry_run_changes_nothing_on_record_though_it_finds_a_loss(house: Machine) -> None:
    for manifest in house.path("regions").glob("*/manifests/*"):
        manifest.unlink()
    before = record(house)
    done = house.run("alerts", "send", "--dry-run", "--json")
    assert "backup.lost" in {alert["kind"] for alert in done.document["alerts"]}
    assert record(house) == before


def test_a_target_that_was_rolled_back_is_stale_each_time_it_is_asked(house: Machine) -> None:
    first = house.path("regions") / REGIONS[0] / "manifests"
    known = set(first.iterdir())
    house.ok("backup", "--policy", "metadata", "--force")
    for region in REGIONS:
        for manifest in (house.path("regions") / region / "manifests").iterdir():
            if manifest.name not in {one.name for one in known}:
                manifest.unlink()
    for _ in "found", "known":
        assert house.run("backups", "verify", REGIONS[0]).failed_with(Stale)


def record(machine: Machine) -> list[str]:
    with closing(sqlite3.connect(machine.state / "state.db")) as database:
        return list(database.iterdump())


def test_another_host_tells_that_a_host_is_dead_and_what_it_left_undone(
    house: Machine, server: MailServer, other: Machine
) -> None:
    with closing(RunStore(f"sqlite:///{house.state}/state.db")) as store:
        store.heartbeat(names.BEAT)
    with closing(sqlite3.connect(house.state / "state.db")) as database, database:
        database.execute("UPDATE heartbeats SET at = at - 600")
    for name in ("recovery.key.pub", "mail-password", "mail-ca.pem"):
        shutil.copy(house.path(name), other.path(name))
    fingerprint = house.ok("keys", "signers", "list", "--json").document["installation"]
    text = house.path("strongroom.toml").read_text().replace('"regions/', f'"{house.home}/regions/')
    other.path("strongroom.toml").write_text(
        f'{text}[state]\nurl = "sqlite:///{house.state}/state.db"\n[trust]\nsigners = ["{fingerprint}"]\n'
    )
    other.began_long_ago()
    code, keys, told = alerts(other, "--email", ADDRESS)
    assert (code, set(keys)) == (BackupOverdue.exit_code, {"backup.overdue:full", "beat.silent"})
    assert set(told) == set(keys)
    assert all(key in server.mails[0].text for key in keys)


def test_a_mail_server_that_refuses_is_what_the_command_ends_with(house: Machine, server: MailServer) -> None:
    server.refused[ADDRESS] = 550
    done = house.run("alerts", "send", "--email", ADDRESS, "--email", "two@example.org")
    assert done.failed_with(MailRefused)
    assert [mail.recipients for mail in server.mails] == [("two@example.org",)]
    assert f"NOT notified: {ADDRESS} (others of 'alerts.email' were)" in done.out
    assert ADDRESS in done.err
    house.path("mail-ca.pem").write_text("")
    assert house.run("alerts", "send", "--email", "three@example.org").failed_with(ConfigError)
    house.path("mail-password").chmod(0o644)
    assert house.run("alerts", "send", "--email", ADDRESS).failed_with(ConfigProblems)


def test_a_region_that_does_not_answer_decides_the_exit_code(house: Machine) -> None:
    house.ok("backup", "--policy", "full", "--force")
    shutil.rmtree(house.path("regions") / REGIONS[0])
    assert alerts(house)[:2] == (TargetUnavailable.exit_code, [f"target.away:{REGIONS[0]}"])


def test_a_state_that_cannot_be_read_is_told_all_the_same(house: Machine, server: MailServer) -> None:
    house.ok("backup", "--policy", "full", "--force")
    (house.state / "state.db").write_bytes(b"CANARY no database " * 1000)
    code, keys, told = alerts(house, "--email", ADDRESS)
    assert (code, keys, told) == (StateUnavailable.exit_code, ["state.unreachable"], ["state.unreachable"])
    assert "could not be read" in server.mails[0].text


def test_a_look_migrates_no_database_under_workers_of_an_older_version(house: Machine) -> None:
    with closing(sqlite3.connect(house.state / "state.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '0004'")
        database.commit()
        done = house.run("alerts", "send")
        assert "state.unreachable" in done.out
        assert "migrates nothing" in done.out
        assert database.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)


def test_on_a_host_that_only_watches_it_makes_no_key_stage_or_target(machine: Machine) -> None:
    assert machine.run("alerts", "send").failed_with(BackupOverdue)
    assert {path.name for path in machine.state.iterdir()} <= {"state.db", "state.db-wal", "state.db-shm"}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--email", "a@b.c\nBcc: d@e.f"), "plain address"),
        (("--email", "a@b.c,d@e.f"), "plain address"),
        (("--threshold-age", "48 parsecs"), "such as 48h"),
        (("--threshold-age", "0h"), "such as 48h"),
    ],
)
def test_what_makes_no_sense_is_refused(machine: Machine, words: tuple[str, ...], says: str) -> None:
    done = machine.run("alerts", "send", *words)
    assert done.failed_with(UsageError)
    assert says in " ".join(done.err.split())


def test_an_address_without_a_server_is_a_wrong_setting_and_hides_no_alert(machine: Machine) -> None:
    done = machine.run("alerts", "send", "--email", ADDRESS)
    assert done.failed_with(ConfigError)
    assert "mail.host" in done.err
    found = machine.run("alerts", "send", "--email", ADDRESS, "--json").document
    assert found["error"]["code"] == "ConfigError"
    assert "backup.overdue" in {alert["kind"] for alert in found["alerts"]}
