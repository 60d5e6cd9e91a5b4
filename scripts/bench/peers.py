"""Strongroom beside restic, borg and age, in turns: one round of all tools, then the next, so that a busy
moment of the machine falls on all of them alike."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from scripts.bench import measure
from scripts.bench.measure import CommandFailed
from scripts.bench.rows import JSONL, TREE, US, Journal, Measured, Row
from scripts.bench.tools import PASSPHRASE, WITH_PASSPHRASE, Job, Place, Tool, base_env, jobs

PART, MILLION, SIZES = "peers", "million", "sizes"
ORDER = ("backup", "verify", "one secret", "restore")
BAR_PEERS = {(TREE, WITH_PASSPHRASE), (TREE, "restic"), (JSONL, "restic"), (JSONL, "borg")}
"""Those that a bar names: they are measured as often as Strongroom, the others less often."""


def make_data(out: Path, count: int, *, seed: int, layout: str) -> None:
    """Make the secrets in a process of its own."""
    print(f"making {count:,} secrets", file=sys.stderr)
    own = [sys.executable, "-m", "scripts.bench.gen", str(out), str(count), "--layout", layout]
    subprocess.run([*own, "--seed", str(seed)], check=True)


def make_place(root: Path, data: Path) -> Place:
    """Lay out a scratch folder for one series of measurements."""
    (root / "home").mkdir(parents=True, exist_ok=True)
    jsonl = data / "secrets.jsonl"
    with jsonl.open("rb") as lines:
        lines.seek(jsonl.stat().st_size // 2)
        lines.readline()
        one = str(json.loads(lines.readline())["name"])
    place = Place(data=data, scratch=root, one=one)
    place.passphrase_file.write_text(PASSPHRASE + "\n")
    place.passphrase_file.chmod(0o600)
    return place


def stored_bytes(path: Path) -> int:
    """Return the size of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def environment(tool: Tool, place: Place) -> dict[str, str]:
    return base_env(place) | dict(tool.env(place))


def measure_once(job: Job, tool: Tool, place: Place, *, memory: bool) -> Measured:
    """Prepare and run one job.

    Raises:
        CommandFailed: it, or what has to run before it, did not do its work.
    """
    env = environment(tool, place)
    for before in job.before:
        cwd = place.data if job.in_data else None
        done = subprocess.run(before(place), env=env, cwd=cwd, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(f"preparing {job.label}: {done.stderr.decode(errors='replace')[-500:]}")
    shown = place.scratch / "shown" if job.shows else None
    measured = measure.run(
        job.command(place), env=env, cwd=place.data if job.in_data else None, stdout=shown, memory=memory
    )
    if shown and not _shown(shown, place.one):
        raise CommandFailed(f"{job.label} did not show {place.one}")
    return measured


def _shown(path: Path, name: str) -> bool:
    # Line by line: some tools can only give the whole file, and the launcher has to stay small.
    with path.open("rb") as lines:
        return any(name.encode() in line for line in lines)


def rounds_of(job: Job, *, most: int) -> int:
    """Return how often a job is measured: what takes longest and decides least, the least often."""
    if job.tool != US and (job.layout, job.tool) not in BAR_PEERS:
        return min(most, 1 if job.layout == TREE else 2)
    return min(most, 3) if job.job == "restore" else most


def compare(
    journal: Journal,
    place: Place,
    tools: Mapping[str, Tool],
    *,
    part: str,
    secrets: int,
    layouts: Sequence[str] = (TREE, JSONL),
    rounds: Callable[[Job], int],
    warm_up: bool,
    until: float = math.inf,
) -> None:
    """Measure every job of every tool, in turns; a job that failed is not tried again.

    Args:
        until: no further round begins after that moment of the monotonic clock.
    """
    chosen = [job for job in jobs() if job.tool in tools and job.layout in layouts]
    in_turns = sorted(chosen, key=lambda job: (layouts.index(job.layout), ORDER.index(job.job)))
    failed: set[Job] = set()
    for number in range(0 if warm_up else 1, max(map(rounds, in_turns)) + 1):
        if number > 1 and time.monotonic() > until:
            return
        print(
            f"{part}, {secrets:,} secrets: round {number}" + ("" if number else " (warm-up)"), file=sys.stderr
        )
        for job in in_turns:
            if job in failed or number > rounds(job) or (number == 0 and rounds(job) <= 2):
                continue
            row = Row(part=part, what=job.job, who=job.tool, layout=job.layout, secrets=secrets)
            # Watching memory costs time, so it is done once; later the kernel's word is taken.
            watched = number == (0 if warm_up else 1)
            try:
                measured = measure_once(job, tools[job.tool], place, memory=watched)
            except CommandFailed as problem:
                failed.add(job)
                journal.failed(part, f"{job.job}, {job.label}, {secrets:,} secrets", problem)
                continue
            kept = stored_bytes(place.scratch / job.keeps) if job.keeps else None
            journal.add(row, measured, warm_up=number == 0, stored_bytes=kept)


def count_reads(journal: Journal, place: Place, tool: Tool, *, part: str, layout: str, secrets: int) -> None:
    """Count what one secret of the file costs in reads."""
    ours = {job.job: job for job in jobs() if (job.tool, job.layout) == (US, layout)}
    found = measure.count_reads(
        ours["one secret"].command(place),
        place.scratch / str(ours["backup"].keeps),
        env=environment(tool, place),
        scratch=place.scratch,
    )
    if found:
        row = Row(part=part, what="one secret", who=US, layout=layout, secrets=secrets)
        journal.add(row, facts=found)
