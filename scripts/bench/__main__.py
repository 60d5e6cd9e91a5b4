"""Run the benchmark and write what it found."""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.bench import bars, report
from scripts.bench.gen import record
from scripts.bench.machine import describe
from scripts.bench.rounds import Results, measure
from scripts.bench.tools import PASSPHRASE, TOOLS, Place, Tool, at_hand, jobs

GENERATOR = "STRONGROOM_BENCH_GENERATOR"


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The same jobs on many more secrets, run once, for their memory and reads."""

    secrets: int
    results: Results
    reads: dict[str, int] | None


@dataclass(kw_only=True)
class Session:
    """All that one call of the benchmark found; the report prints it."""

    secrets: int
    repeat: int
    generator: str
    machine: dict[str, str]
    versions: dict[str, str]
    results: Results
    verdicts: list[bars.Verdict] = field(default_factory=list)
    micro: dict[str, float] = field(default_factory=dict)
    reads: dict[str, int] | None = None
    memory: Memory | None = None
    pipeline: list[dict[str, Any]] = field(default_factory=list)


def make_data(out: Path, count: int, *, layout: str = "both") -> str:
    """Make the secrets in a process of its own; return what made them."""
    given = os.environ.get(GENERATOR)
    if given and layout == "both":
        subprocess.run([sys.executable, given, str(out), str(count)], check=True, stdout=subprocess.DEVNULL)
        return f"the script that {GENERATOR} names"
    own = [sys.executable, "-m", "scripts.bench.gen", str(out), str(count), "--layout", layout]
    subprocess.run(own, check=True)
    return "scripts/bench/gen.py"


def _some_name(jsonl: Path) -> str:
    """Return the name of a secret from the middle of the file."""
    with jsonl.open("rb") as handle:
        handle.seek(jsonl.stat().st_size // 2)
        handle.readline()
        return str(json.loads(handle.readline())["name"])


def make_place(root: Path, data: Path) -> Place:
    """Lay out a scratch folder for one series of measurements."""
    for folder in (root, root / "home"):
        folder.mkdir(parents=True, exist_ok=True)
    place = Place(data=data, scratch=root, one=_some_name(data / "secrets.jsonl"))
    place.passphrase_file.write_text(PASSPHRASE + "\n")
    place.passphrase_file.chmod(0o600)
    return place
