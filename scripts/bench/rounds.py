"""Measure every job in turns: one round of all tools, then the next, so that a busy moment of
the machine falls on all of them alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.bench.measure import CommandFailed, Measured, run
from scripts.bench.tools import Job, Place, Tool, base_env

ORDER = ("backup", "verify", "one", "restore")


@dataclass(kw_only=True)
class Results:
    """What was measured, by job; ``failed`` keeps the first complaint of a job."""

    runs: dict[Job, list[Measured]] = field(default_factory=lambda: defaultdict(list))
    peaks: dict[Job, float] = field(default_factory=dict)
    sizes: dict[Job, int] = field(default_factory=dict)
    failed: dict[Job, str] = field(default_factory=dict)

    def seconds(self, job: Job) -> float:
        return statistics.median(one.seconds for one in self.runs[job])

    def others(self, job: Job) -> float:
        return statistics.median(one.others for one in self.runs[job])

    def peak(self, job: Job) -> float:
        return self.peaks[job]


def stored_bytes(path: Path) -> int:
    """Return the size of a file, or of all files under a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def _environment(tool: Tool, place: Place) -> dict[str, str]:
    return base_env(place) | dict(tool.env(place))


def _prepare(job: Job, place: Place, env: Mapping[str, str]) -> None:
    for before in job.before:
        cwd = place.data if job.in_data else None
        done = subprocess.run(before(place), env=dict(env), cwd=cwd, capture_output=True, check=False)
        if done.returncode:
            raise CommandFailed(f"preparing {job.label}: {done.stderr.decode(errors='replace')[-500:]}")


def _shown(path: Path, name: str) -> bool:
    # Line by line: some tools can only give the whole file, and the launcher has to stay small.
    with path.open("rb") as lines:
        return any(name.encode() in line for line in lines)


def measure_once(job: Job, tool: Tool, place: Place, *, memory: bool) -> Measured:
    """Prepare and run one job.

    Raises:
        CommandFailed: it, or what has to run before it, did not do its work.
    """
    env = _environment(tool, place)
    _prepare(job, place, env)
    shown = place.scratch / "shown" if job.shows else None
    measured = run(
        job.command(place), env=env, cwd=place.data if job.in_data else None, stdout=shown, memory=memory
    )
    if shown and not _shown(shown, place.one):
        raise CommandFailed(f"{job.label} did not show {place.one}")
    return measured


def _note(results: Results, job: Job, measured: Measured, place: Place, *, warm_up: bool) -> None:
    results.peaks[job] = max(results.peaks.get(job, 0.0), measured.peak_mib)
    if not warm_up:
        results.runs[job].append(measured)
    if job.keeps:
        results.sizes[job] = stored_bytes(place.scratch / job.keeps)


def _one_round(
    jobs: Iterable[Job], tools: Mapping[str, Tool], place: Place, results: Results, *, warm_up: bool
) -> None:
    for job in jobs:
        if job in results.failed:
            continue
        try:
            # Watching memory costs time, so it is done in the warm-up; later the kernel's word is taken.
            measured = measure_once(job, tools[job.tool], place, memory=warm_up)
        except CommandFailed as problem:
            results.failed[job] = str(problem)
            print(f"  {job.job} {job.label}: {problem}", file=sys.stderr)
        else:
            _note(results, job, measured, place, warm_up=warm_up)


def measure(jobs: list[Job], tools: Mapping[str, Tool], place: Place, *, repeat: int) -> Results:
    """Run a warm-up round and ``repeat`` measured rounds of ``jobs``."""
    jobs = [job for job in jobs if job.tool in tools]
    in_turns = sorted(jobs, key=lambda job: (job.layout != "tree", ORDER.index(job.job)))
    results = Results()
    for number in range(repeat + 1):
        print(f"round {number} of {repeat}" + ("" if number else " (warm-up)"), file=sys.stderr)
        _one_round(in_turns, tools, place, results, warm_up=number == 0)
    return results
