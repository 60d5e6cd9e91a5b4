"""Finding secrets in many backups of many secrets, by the index of names beside them."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts.bench import gen, measure

SECRETS, BACKUPS = 1_000_000, 100


@dataclass(frozen=True, kw_only=True)
class Finds:
    """Medians of seconds by what was typed, and the peak memory of any of them."""

    secrets: int
    backups: int
    index_mib: float
    seconds: dict[str, float]
    peak_mib: float

    @property
    def slowest(self) -> float:
        return max(self.seconds.values())


def run(*, repeat: int, secrets: int = SECRETS, backups: int = BACKUPS, scratch: Path | None = None) -> Finds:
    """Make the target, and look for secrets in it."""
    with tempfile.TemporaryDirectory(prefix="strongroom-find-", dir=scratch) as folder:
        return _run(Path(folder), repeat, secrets, backups)


def _run(folder: Path, repeat: int, secrets: int, backups: int) -> Finds:
    print(f"making {backups} backups of {secrets:,} names", file=sys.stderr)
    made = [sys.executable, "-m", "scripts.bench.one_find", str(folder), str(secrets), str(backups)]
    told = subprocess.run(made, check=True, capture_output=True, text=True).stdout.split()
    target = folder / "target"
    where = [f"--from-target={target}", f"--identity={folder / 'recovery.key'}", f"--signer={told[0]}"]
    env = {**os.environ, "STRONGROOM_STATE_DIR": str(folder / "state")}
    runs = {
        " ".join(words): [
            measure.run([sys.executable, "-m", "strongroom.cli", *words, *where], env=env)
            for _ in range(repeat + 1)
        ][1:]
        for words in _commands(told[1])
    }
    return Finds(
        secrets=secrets,
        backups=backups,
        index_mib=sum(file.stat().st_size for file in (target / "index").glob("*/*/*")) / 2**20,
        seconds={words: statistics.median(one.seconds for one in found) for words, found in runs.items()},
        peak_mib=max(one.peak_mib for found in runs.values() for one in found),
    )


def _commands(name: str) -> list[list[str]]:
    number = name[-7:]
    tags = gen.record(1, int(number))["tags"]
    return [
        ["backups", "find", f"*{number[-4:]}"],
        ["backups", "find", f"{name[: name.index('/')]}/*_{number}"],
        [
            "backups",
            "find",
            f"--filter-tag=team={tags['team']}",
            f"--filter-tag=cost-center={tags['cost-center']}",
        ],
        ["backups", "history", name],
    ]
