"""reports audit, as the procedures document has it, and what it says later of a report."""

from __future__ import annotations

import json
import re
import sqlite3
from pathlib import Path

from strongroom.container.errors import Tampered
from strongroom.errors import UsageError
from strongroom.state.errors import LedgerChanged
from strongroom.system.errors import WouldOverwrite
from tests.cli.program import Machine

WORDS = ("reports", "audit", "--start-date", "2024-01-01", "--end-date", "2999-12-31")


def edit(machine: Machine, statement: str) -> None:
    [file] = Path(machine.home).rglob("state.db")
    with sqlite3.connect(file) as connection:
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def test_the_report_of_the_document_is_written_signed_and_for_its_owner_alone(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok("backups", "hold", "add", "--policy", "full", "--reason", "case 4711")
    said = configured.ok(*WORDS, "--output", "backup_audit_2024.json").out
    assert re.search(r"^holds and deletions +1 event$", said, re.MULTILINE)
    file = configured.path("backup_audit_2024.json")
    assert "1 done" in said
    assert file.stat().st_mode & 0o777 == 0o600
    body = json.loads(file.read_bytes())["body"]
    assert body["outcomes"] == {"backup": {"done": 1}}
    assert b"CANARY" not in file.read_bytes()
    assert configured.run(*WORDS, "--output", "backup_audit_2024.json").failed_with(WouldOverwrite)
    configured.ok(*WORDS, "--output", "backup_audit_2024.json", "--force")
    assert "vouches for" in configured.ok("reports", "check", "backup_audit_2024.json", "--ledger").out


def test_what_was_changed_afterwards_is_told_of_the_report_and_of_the_record(configured: Machine) -> None:
    configured.ok("backup", "--policy", "full", "--force")
    configured.ok(*WORDS, "--output", "report.json")
    configured.ok("backup", "--policy", "full", "--force")
    assert "the ledger is what it was" in configured.ok("reports", "check", "report.json", "--ledger").out

    edit(configured, "UPDATE events SET kind = 'run.swept' WHERE id = 1")
    assert configured.run("reports", "check", "report.json", "--ledger").failed_with(LedgerChanged)
    configured.ok("reports", "check", "report.json")
    written = configured.run(*WORDS, "--output", "later.json")
    assert written.failed_with(LedgerChanged)
    assert json.loads(configured.path("later.json").read_bytes())["body"]["broken"] == 1

    file = configured.path("report.json")
    file.write_bytes(file.read_bytes().replace(b'"done"', b'"dune"'))
    refused = configured.run("reports", "check", "report.json")
    assert refused.failed_with(Tampered)
    assert "Ask for the one that was written" in " ".join(refused.err.split())


def test_days_that_are_none_or_end_before_they_begin_are_refused(configured: Machine) -> None:
    for words in (
        ("--start-date", "2024-02-30"),
        ("--end-date", "9999-12-31"),
        ("--start-date", "2025-01-02", "--end-date", "2025-01-01"),
    ):
        assert configured.run("reports", "audit", *words).failed_with(UsageError)
