"""What only Strongroom does: commands that a person waits for, and work on backups that lie on a target."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.bench import measure
from scripts.bench.measure import CommandFailed
from scripts.bench.rows import US, Journal, Measured, Row
from scripts.bench.tools import Place, base_env

FIRST, TARGETS, ROTATION = "first", "targets", "rotation"
WAITED_FOR = {
    "a bare Python": [sys.executable, "-c", "pass"],
    "--help": ["strongroom", "--help"],
    "status": ["strongroom", "runs"],
    "config check": ["strongroom", "config", "check"],
    "check": ["strongroom", "check"],
}
FIRST_BACKUP, NEXT_BACKUP = "backup by a policy", "backup by a policy, one in 100 changed"
VERIFY, FIND, DIFF = "verify on a target", "find by a pattern", "diff of two backups"
FIND_EACH = "find by a pattern, in each container"
SEAL_ANEW = "seal a backup anew under new keys"
ONE_CORE = "strongroom, one core"
_SETTINGS = """
[sources.bench]
kind = "files"
path = "{jsonl}"

[keys.recovery]
kind = "hpke"
public_key_file = "{key}.pub"
identity_file = "{key}"

[targets.near]
kind = "directory"
path = "{target}"
region = "near"
create = true

[policies.bench]
kind = "full"
source = "bench"
recipients = ["recovery"]
targets = ["near"]
"""


class Machine:
    """A machine of its own below ``place``: a configuration, a key, a state, one target."""

    def __init__(self, place: Place) -> None:
        home = place.scratch / "ours"
        home.mkdir()
        self._env = base_env(place) | {
            "HOME": str(home),
            "STRONGROOM_STATE_DIR": str(home / "state"),
            "STRONGROOM_CONFIG": str(home / "strongroom.toml"),
        }
        key, self.jsonl = home / "recovery.key", home / "secrets.jsonl"
        shutil.copyfile(place.jsonl, self.jsonl)
        self.read("keys", "new", "--output", str(key))
        settings = _SETTINGS.format(jsonl=self.jsonl, key=key, target=home / "target")
        (home / "strongroom.toml").write_text(settings)
        self.read("backups", "list")  # as on a machine that is in use, the state is there before

    def read(self, *words: str) -> bytes:
        """Return what a command prints.

        Raises:
            CommandFailed: it ended with another code than 0.
        """
        done = subprocess.run(["strongroom", *words], env=self._env, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(f"{words} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
        return done.stdout

    def timed(self, command: Sequence[str], *, memory: bool = False) -> Measured:
        return measure.run(command, env=self._env, memory=memory)

    def backups(self) -> list[str]:
        """Return the names of all backups, the earliest first."""
        found = json.loads(self.read("backups", "list", "--json"))["backups"]
        return sorted(one["backup"] for one in found)


def first_second(journal: Journal, place: Place, *, rounds: int) -> None:
    """Time what a person waits for, on a machine with one backup, in turns."""
    machine = Machine(place)
    machine.read("backup", "--policy", "bench", "--force", "-q")
    for number in range(rounds + 1):
        for what, command in WAITED_FOR.items():
            measured = machine.timed(command)
            journal.add(Row(part=FIRST, what=what), measured, warm_up=number == 0)


def on_targets(journal: Journal, place: Place, *, secrets: int, rounds: int) -> None:
    """Back up to a target twice, and work on what lies there, on one core and on all."""
    machine = Machine(place)

    def note(what: str, command: Sequence[str], *, who: str = US, memory: bool = False) -> None:
        row = Row(part=TARGETS, what=what, who=who, layout="jsonl", secrets=secrets)
        try:
            journal.add(row, machine.timed(command, memory=memory))
        except CommandFailed as problem:
            journal.failed(TARGETS, f"{what}, {who}, {secrets:,} secrets", problem)

    backup = ["strongroom", "backup", "--policy", "bench", "--force", "-q"]
    note(FIRST_BACKUP, backup, memory=True)
    change_some(machine.jsonl)
    note(NEXT_BACKUP, backup)
    earlier, later = machine.backups()
    read = {
        VERIFY: ["strongroom", "backups", "verify", "near", "--backup", later, "--depth", "opened", "-q"],
        FIND: ["strongroom", "backups", "find", f"*{place.one[-4:]}", "-q"],
        FIND_EACH: ["strongroom", "backups", "find", f"*{place.one[-4:]}", "--no-index", "-q"],
        DIFF: ["strongroom", "backups", "diff", earlier, later, "-q"],
    }
    for number in range(rounds):
        for what, command in read.items():
            note(what, command, memory=number == 0)
            if number == 0 and what != FIND:
                note(what, ["taskset", "-c", "0", *command], who=ONE_CORE)


def rotation(journal: Journal, place: Place, *, secrets: int, rounds: int) -> None:
    """Seal a backup on a target anew, compare it and remove the one before, on one core and on all."""
    machine = Machine(place)
    machine.read("backup", "--policy", "bench", "--force", "-q")
    words = ("keys", "rotate", "bench", "--re-encrypt", "--renew", "--remove-replaced", "-q")
    for number in range(rounds):
        for who, held in ((US, ()), (ONE_CORE, ("taskset", "-c", "0"))):
            row = Row(part=ROTATION, what=SEAL_ANEW, who=who, layout="jsonl", secrets=secrets)
            journal.add(row, machine.timed([*held, "strongroom", *words], memory=number == 0))


def change_some(jsonl: Path) -> None:
    """Give one secret of a hundred another value."""
    beside = jsonl.with_suffix(".part")
    with jsonl.open("rb") as lines, beside.open("wb") as changed:
        for number, line in enumerate(lines):
            changed.write(line if number % 100 else line.replace(b'"value":"', b'"value":"CHANGED-', 1))
    beside.replace(jsonl)
