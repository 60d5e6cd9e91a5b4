"""Rows that nobody of ours wrote: no command ends with a fault of its own, and none stops the others."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.container.errors import Tampered
from tests import warm
from tests.cli.conftest import configure
from tests.cli.program import Machine
from tests.patience import PATIENCE

OWN_FAULT = 1

ODD = {
    "a spec that is no JSON": "UPDATE runs SET spec = 'garbage'",
    "a spec that is nested deeply": "UPDATE runs SET spec = replace(hex(zeroblob(50000)), '0', '[')",
    "a state that is none": "UPDATE runs SET state = 'bogus'",
    "a beginning that is text": "UPDATE runs SET created_at = 'soon'",
    "a beginning that is infinite": "UPDATE runs SET created_at = 9e999",
    "a beginning beyond any calendar": "UPDATE runs SET created_at = 1e300",
    "a beginning before all time": "UPDATE runs SET created_at = -1e15",
    "an end beyond any calendar": "UPDATE runs SET finished_at = 1e300",
    "an error that is bytes": "UPDATE runs SET error = x'ff00'",
    "a policy that is no UTF-8": "UPDATE runs SET policy = CAST(x'ff' AS TEXT)",
    "facts that are a list": "UPDATE runs SET facts = '[]'",
    "facts with a number beyond all": """UPDATE runs SET facts = '{"plan":{"pieces":1e308,"secrets":-5}}'""",
    "counts that are text": """UPDATE runs SET facts = json_set(facts, '$.counts.secrets', 'many')""",
    "a report that is a number": "UPDATE runs SET facts = json_set(facts, '$.report', 1e308)",
    "a piece that is text": "UPDATE steps SET piece = 'x' WHERE kind = 'plan'",
    "a step's state that is none": "UPDATE steps SET state = 'bogus' WHERE kind = 'plan'",
    "a step's kind that is none": "UPDATE steps SET kind = 'bogus' WHERE kind = 'plan'",
    "a step begun at no time": "UPDATE steps SET started_at = 'x', finished_at = 9e999",
    "an event that is no JSON": "UPDATE events SET detail = 'garbage', at = 'x' WHERE id = 2",
    "an event at no time": "UPDATE events SET at = 1e300 WHERE id = 2",
    "a backup of no size": "UPDATE catalog SET size = 'big', created_at = 'never'",
    "a backup beyond all sizes": "UPDATE catalog SET size = 9223372036854775807, secrets = -1",
    "a backup of no time": "UPDATE catalog SET created_at = '99999-01-01'",
    "a replica of no depth": "UPDATE replicas SET verified = 'bogus', verified_at = 'x'",
    "a heartbeat at no time": "INSERT OR REPLACE INTO heartbeats VALUES ('beat', 'x'), ('other', 9e999)",
    "no counter": "DELETE FROM counters",
    "a counter that is text": "UPDATE counters SET value = 'x'",
    "a counter at its end": "UPDATE counters SET value = 9223372036854775807",
    "a slot at no time": "INSERT INTO slots VALUES ('full', 'x', 'r'), ('full', 9e999, 'r')",
    "an alert of no weight": "INSERT INTO alerts VALUES ('a', 'k', 'bad', 'x', 'w', 'x', 9e999, NULL)",
    "no steps": "DROP TABLE steps",
    "a schema of no version": "UPDATE alembic_version SET version_num = 'zzzz'",
}
COMMANDS = [
    ["runs"],
    ["runs", "show", "RUN"],
    ["runs", "cancel", "RUN"],
    ["backups", "list"],
    ["backups", "replicas"],
    ["alerts", "send", "--dry-run"],
    ["check", "backups"],
    ["check"],
    ["ledger", "check"],
    ["reports", "audit", "--start-date", "2020-01-01"],
    ["list"],
    ["backup", "--policy", "full", "--force"],
]
RUN_ALL = """
import contextlib, io, json, sys
from strongroom.cli.main import main
codes = {}
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        try:
            codes[" ".join(words)] = main(words)
        except SystemExit as ended:
            codes[" ".join(words)] = ended.code
print(json.dumps(codes), file=sys.__stdout__)
"""


def run_all(machine: Machine, commands: list[list[str]]) -> dict[str, int]:
    """Run command lines one after the other in one process; return their exit codes."""
    program = machine.path("run_all.py")
    program.write_text(RUN_ALL)
    done = warm.run([str(program), json.dumps(commands)], cwd=machine.home, env=machine.env, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()
    codes: dict[str, int] = json.loads(done.stdout)
    return codes


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, bytes, str]:
    """A machine with one backup, its state database as it was then, and the run."""
    machine = Machine(tmp_path_factory.mktemp("odd") / "machine")
    machine.set("app/a", "CANARY-A")
    configure(machine)
    run = machine.ok("backup", "--policy", "full", "--force", "--json").document["id"]
    return machine, (machine.state / "state.db").read_bytes(), str(run)


def edit(machine: Machine, whole: bytes, statement: str) -> None:
    """Put the database back as it was, and change it behind our back."""
    file = machine.state / "state.db"
    for ending in ("-wal", "-shm"):
        Path(f"{file}{ending}").unlink(missing_ok=True)
    file.write_bytes(whole)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


@pytest.mark.sampled(every=6)
@pytest.mark.parametrize("odd", ODD)
def test_odd_rows_end_no_command_with_a_fault_of_its_own(
    backed_up: tuple[Machine, bytes, str], odd: str
) -> None:
    machine, whole, run = backed_up
    edit(machine, whole, ODD[odd])
    codes = run_all(machine, [[word if word != "RUN" else run for word in words] for words in COMMANDS])
    assert len(codes) == len(COMMANDS)
    assert [words for words, code in codes.items() if code == OWN_FAULT] == []
    stops_all = ("no steps", "a schema of no version", "no counter", "a counter at its end")
    if odd not in stops_all:
        assert codes["backup --policy full --force"] in (0, Tampered.exit_code), (
            "the next backup was stopped by an old row"
        )


@pytest.mark.sampled(every=2)
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE about SET key_check = substr(key_check, 1, 31) || x'00'",
        "UPDATE about SET key_check = 'CANARY'",
        "UPDATE about SET key_check = CAST(x'ff' AS TEXT)",
        "DELETE FROM about",
        "UPDATE secrets SET size = 'big'",
        "UPDATE secrets SET name = x'ff'",
        "UPDATE secrets SET sealed = 'text'",
        "UPDATE secrets SET head = 'x', older = 1e300",
    ],
)
def test_an_odd_local_store_ends_no_command_with_a_fault_of_its_own(
    backed_up: tuple[Machine, bytes, str], change: str
) -> None:
    machine, whole, _ = backed_up
    edit(machine, whole, "SELECT 1")
    store = machine.state / "store" / "secrets.db"
    kept = store.read_bytes()
    try:
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(change)
            connection.commit()
        lines = [
            ["list"],
            ["get", "app/a"],
            ["check", "secrets"],
            ["check"],
            ["backup", "--policy", "full", "--force"],
        ]
        codes = run_all(machine, lines)
        assert [words for words, code in codes.items() if code == OWN_FAULT] == []
        assert codes["backup --policy full --force"] != 0 or codes["list"] == 0
    finally:
        store.write_bytes(kept)
