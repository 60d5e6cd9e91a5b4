"""What beat asks for is the look that cron makes, and each of the two keeps count by itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import stock
from tests.cli.program import ROOT, Machine
from tests.watch.mail_server import MailServer
from workers import names

TASK = (
    f"from workers.app import app; app.loader.import_default_modules(); print(app.tasks['{names.ALERTS}']())"
)


def perform(machine: Machine) -> int:
    """Perform the task as a process of the control pool would; return how many alerts there are."""
    env = machine.env | {"STRONGROOM_ROLE": names.CONTROL, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", TASK],
        cwd=machine.home,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_the_task_tells_once_and_the_command_by_itself(tmp_path: Path) -> None:
    machine = stock(Machine(tmp_path / "machine"))
    with MailServer() as server:
        machine.path("strongroom.toml").write_text(
            '[policies.p]\nkind = "metadata"\ntargets = ["region-a", "region-b"]\nschedule = "0 2 * * *"\n'
            f'[mail]\nhost = "127.0.0.1"\nport = {server.port}\nsecurity = "none"\n'
            '[alerts]\nemail = ["a@example.org"]\nthreshold_age = "1m"\n'
        )
        assert perform(machine) == 1
        assert perform(machine) == 1
        assert ["backup.overdue:p" in mail.text for mail in server.mails] == [True]
        assert machine.run("backup-alerts").code == 93
        assert len(server.mails) == 2, "cron does not rely on what workers told"
        machine.ok("backup", "--policy", "p", "--force")
        assert perform(machine) == 0
        assert [mail.subject.partition(" on ")[0] for mail in server.mails[2:]] == ["[strongroom] 1 resolved"]
