"""What beat asks for is the check that cron makes, and of all that check one tells."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from strongroom.operations.errors import BackupOverdue
from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.operations.alerts.mail_server import MailServer
from tests.workers.performing import perform
from workers import names


def alerts(machine: Machine) -> int:
    """Have the control pool look; return how many alerts there are."""
    return perform(machine, names.ALERTS, role=names.CONTROL)[0]


def test_the_task_tells_once_and_a_command_beside_it_only_if_the_task_is_silent(tmp_path: Path) -> None:
    machine = stock(Machine(tmp_path / "machine"))
    with MailServer() as server:
        machine.path("strongroom.toml").write_text(
            '[policies.p]\nkind = "metadata"\ntargets = ["region-a", "region-b"]\nschedule = "0 2 * * *"\n'
            f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
            '[alerts]\nemail = ["a@example.org"]\nthreshold_age = "1m"\n'
        )
        machine.began_long_ago()
        assert alerts(machine) == 1
        assert alerts(machine) == 1
        assert ["backup.overdue:p" in mail.text for mail in server.mails] == [True]
        assert machine.run("alerts", "send").failed_with(BackupOverdue)
        assert len(server.mails) == 1, "the workers tell, as long as they check"
        with closing(sqlite3.connect(machine.state / "state.db")) as database, database:
            database.execute("UPDATE leases SET renewed_at = renewed_at - 2500")
        document = machine.run("alerts", "send", "--json").document
        assert [(one["told"], one["left_to"]) for one in document["routes"]] == [([], None)]
        machine.ok("backup", "--policy", "p", "--force")
        assert alerts(machine) == 0
        machine.ok("alerts", "send")
        # A command that looked once, while they were silent, keeps the workers from nothing.
        assert [mail.subject.partition(" on ")[0] for mail in server.mails[1:]] == ["[strongroom] 1 resolved"]
