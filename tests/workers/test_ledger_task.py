"""The ledger's head is put on every target by the control pool; what is amiss stands in its log."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import stock
from tests.cli.program import Machine
from tests.workers.performing import perform
from workers import names
from workers.rights import may_send

POLICY = """
[keys.recovery]
kind = "hpke"
public_key_file = "recovery.key.pub"
[policies.full]
kind = "full"
targets = ["region-a", "region-b", "region-c"]
recipients = ["recovery"]
"""


@pytest.fixture
def kept(tmp_path: Path) -> Machine:
    """A machine with a backup in its three regions."""
    machine = stock(Machine(tmp_path / "machine"))
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.path("strongroom.toml").write_text(POLICY)
    machine.ok("backup", "--policy", "full", "--force")
    return machine


def publish(machine: Machine) -> tuple[int, str]:
    """Have the control pool put the head; return how many targets took it, and the log."""
    return perform(machine, names.LEDGER, role=names.CONTROL)


def edit(machine: Machine, statement: str) -> None:
    with sqlite3.connect(machine.state / "state.db") as connection:
        assert connection.execute(statement).rowcount >= 1
    connection.close()


def test_the_task_puts_it_once_and_what_was_opened_is_in_the_record_first(kept: Machine) -> None:
    kept.ok("get", "JWT_SECRET_KEY", "--show-value")
    assert publish(kept) == (3, "")
    assert publish(kept) == (0, "")
    told = kept.ok("ledger", "check", "--targets", "--json").document
    assert [one["agree"] for one in told["targets"]] == [2, 2, 2], "one is of the backup's end"
    happened = kept.ok("reports", "audit", "--json").document["happenings"]
    assert "access.shown" in [one["kind"] for one in happened]


def test_a_record_that_was_cut_is_an_error_in_the_log_and_no_head_is_signed(kept: Machine) -> None:
    publish(kept)
    edit(kept, "DELETE FROM events WHERE id > 1")
    took, log = publish(kept)
    assert took == 0
    assert "ledger-not-as-published" in log


def test_a_database_that_was_lost_is_told_as_a_record_that_begins_anew(kept: Machine) -> None:
    publish(kept)
    for file in kept.state.glob("state.db*"):
        file.unlink()
    kept.ok("backup", "--policy", "full", "--force")
    took, log = publish(kept)
    assert took == 3
    assert "ledger-began-again" in log


def test_the_control_pool_may_be_asked_by_beat_alone() -> None:
    assert names.HOME_OF[names.LEDGER] == names.CONTROL
    senders = {role for role in names.ROLES if names.LEDGER in may_send(role)}
    assert senders == {names.BEAT, names.CONTROL}
