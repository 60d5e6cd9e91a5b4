"""A house with the three policies that ``strongroom init`` writes, after 35 nights on two targets."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from tests.cli.program import ROOT, SCRIPT, Done, Machine
from tests.patience import PATIENCE

START = 1_737_331_200
"""2025-01-20T00:00:00Z, a Monday: two weeks before the first of a month."""
NIGHTS, PRINTED = 35, 10
"""How many nights go by, and after which of them the recovery kit is printed: paper is never the newest."""
REGIONS = ("region-a", "region-b")
CRITICAL, PLAIN = "DATABASE_PASSWORD", "REDIS_PASSWORD"
MONTHLY = {
    CRITICAL: "CANARY-database-1",
    "JWT_KEY": "CANARY-jwt",
    PLAIN: "CANARY-redis-2",
    "SMTP": "CANARY-smtp-1",
}
"""What the newest monthly backup, of the 1st, holds."""
NEWEST_WEEKLY = "CANARY-database-3"
"""The critical secret in the weekly backup of the last night."""
CHANGES = {
    1: {
        CRITICAL: "CANARY-database-1",
        "JWT_KEY": "CANARY-jwt",
        PLAIN: "CANARY-redis-1",
        "SMTP": "CANARY-smtp-1",
    },
    5: {PLAIN: "CANARY-redis-2"},
    20: {CRITICAL: "CANARY-database-2"},
    30: {CRITICAL: "CANARY-database-3", "SMTP": "CANARY-smtp-2"},
}


@dataclass(frozen=True, kw_only=True)
class House:
    """What is left of it: its targets, a key in a safe, and a kit on paper."""

    regions: Path
    key: Path
    signer: str
    printed: Mapping[str, list[str]]
    runs: Sequence[tuple[str, str, str]]

    def newest(self, policy: str) -> str:
        return [run for run, of, _ in self.runs if of == policy][-1]


def lived(home: Path) -> House:
    """Set a machine up as the README says, let 35 nights go by, and lose it."""
    machine = Machine(home)
    machine.ok("keys", "new", "--output", "recovery.key")
    machine.ok("init", "--output", "strongroom.toml", "--public-key", "recovery.key.pub")
    to_two_targets(machine.path("strongroom.toml"), home)
    machine.ok("check", "config")
    runs = nights(machine, START, PRINTED)
    machine.ok("emergency", "kit", "--output", "kit.html")
    printed, signer = on_paper(machine.path("kit.html"))
    runs += nights(machine, START + PRINTED * 86_400, NIGHTS - PRINTED, since=PRINTED)
    shutil.rmtree(machine.state)
    machine.path("strongroom.toml").unlink()
    return House(regions=home, key=machine.path("recovery.key"), signer=signer, printed=printed, runs=runs)


def to_two_targets(config: Path, home: Path) -> None:
    """Change the written configuration as a person does who has two regions and not three."""
    text = config.read_text().replace(', "region-c"]', "]")
    text = re.sub(r"\[targets\.region-c\]\n(.+\n)+", "", text)
    config.write_text(re.sub(r'path = ".*/targets/(region-[ab])"', rf'path = "{home}/\1"', text))


def nights(machine: Machine, start: int, many: int, *, since: int = 0) -> list[tuple[str, str, str]]:
    """Let nights go by; return the runs that were due, each with its policy and what it came to."""
    changes = [_import(machine, CHANGES.get(since + night, {})) for night in range(1, many + 1)]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("calendar_days.py")), str(start), str(many)],
        cwd=machine.home,
        env=machine.env | {"PYTHONPATH": str(ROOT)},
        input=json.dumps(changes),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    return [(run, policy, state) for run, policy, state in json.loads(done.stdout.splitlines()[-1])["runs"]]


def _import(machine: Machine, secrets: Mapping[str, str]) -> list[list[str]]:
    """Return the commands that give secrets these values, the critical one with its tag."""
    commands = []
    for name, value in secrets.items():
        file = machine.path(f"{value}.jsonl")
        tags = {"priority": "critical"} if name == CRITICAL else {}
        file.write_text(json.dumps({"name": name, "value": value, "tags": tags}) + "\n")
        commands.append(["secrets", "import", f"{file}:jsonl", "--overwrite-existing", "-q"])
    return commands


def on_paper(kit: Path) -> tuple[dict[str, list[str]], str]:
    """Return what a kit says to type, by its title, and the installation's fingerprint on it."""
    sections = {}
    for section in kit.read_text().split("<h2>What to type: ")[1:]:
        commands = section.partition("<pre>")[2].partition("</pre>")[0]
        sections[unescape(section.partition("</h2>")[0])] = unescape(commands).split("\n")
    [signer] = set(re.findall(r"sr1:[0-9a-f]{64}", kit.read_text()))
    return sections, signer


def in_page(page: str, title: str) -> list[str]:
    """Return the blocks that a page under docs/how-to says to type, in one of its sections."""
    return re.findall(r"```sh\n(.*?)```", section_of(page, title), flags=re.DOTALL)


def section_of(page: str, title: str) -> str:
    """Return a section of a page under docs/how-to."""
    text = (ROOT / "docs" / "how-to" / page).read_text()
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def tutorial(page: str, *, but: Collection[str] = ()) -> str:
    """Return all that a tutorial says to type, but for what some of its sections say."""
    text = (ROOT / "docs" / "tutorial" / page).read_text()
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    kept = [section for section in sections if section.partition("\n")[0] not in but]
    assert len(kept) == len(sections) - len(but)
    return "\n".join(re.findall(r"```sh\n(.*?)```", "\n".join(kept), flags=re.DOTALL))


def typed(machine: Machine, text: str, places: Mapping[str, str | Path]) -> Done:
    """Type lines into a shell as they are printed, with nothing but the places put in."""
    for place, real in places.items():
        text = text.replace(place, str(real))
    programs = f"""set -e; strongroom() {{ "{sys.executable}" "{SCRIPT}" "$@"; }}
python3() {{ "{sys.executable}" -I "$@"; }}
"""
    done = subprocess.run(
        ["bash", "-c", programs + text],
        cwd=machine.home,
        env=machine.env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def values(machine: Machine) -> dict[str, str]:
    """Return every secret in the store with its newest value."""
    names = [secret["name"] for secret in machine.ok("list", "--json").document["secrets"]]
    return {name: machine.ok("get", name, "--show-value").out for name in names}


def words_of(done: Done) -> str:
    """Return what a person was told, without line breaks."""
    return " ".join((done.out + done.err).split())
