"""``python -m tests.chaos.series --runs 200 --seed 1 --jobs 2``: storms, each in a process of its own.

Odd seeds keep the run record in PostgreSQL, even ones in SQLite. Ends with 1 if any rule was broken.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import msgspec

from tests.chaos.errands import NAMES as BESIDES
from tests.chaos.log import Say, begin
from tests.chaos.storm import Result
from tests.chaos.weather import NAMES
from tests.process import ROOT

LONGEST: Final = 1800.0
"""Seconds after which a storm's process is ended: a guard against a hang of the harness itself."""
DELETED: Final = "deleted"
"""What a storm says in which a prune deleted something."""
OWN_MOUNTS: Final = ("unshare", "--mount", "--propagation", "private")
HEAD: Final = f"{'seed':>6}  {'record':<10}  {'time':>7}  {'ended':<9}  {'':<6}  what happened"


def main() -> int:
    """Make all storms and print a table; return 1 if any rule was broken."""
    given, say = _arguments(), begin("storms.log")
    root = Path(tempfile.mkdtemp(prefix="sr-storm-"))
    mounts = may_mount()
    if not mounts:
        say("No full and no read-only disks: that takes root, and 'unshare' from util-linux.")
    say(HEAD)
    results = list(_results(given, root, say, mounts=mounts))
    say(f"\n{summary(results)}")
    wrong = [f"seed {one.seed}: {words}" for one in results for words in one.broken]
    wrong += unshown(results, mounts=mounts) if given.runs >= given.enough else []
    for words in wrong:
        say(words)
    if not wrong:
        shutil.rmtree(root)
        return 0
    say(f"What is left of the broken ones: {root}")
    return 1


def may_mount() -> bool:
    """Tell whether a process may have file systems of its own here."""
    if os.geteuid() != 0 or shutil.which(OWN_MOUNTS[0]) is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        tried = (*OWN_MOUNTS, "mount", "-t", "tmpfs", "none", folder)
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0


def _results(given: argparse.Namespace, root: Path, say: Say, *, mounts: bool) -> Iterator[Result]:
    lanes = ThreadPoolExecutor(given.jobs)
    try:
        seeds = range(given.seed, given.seed + given.runs)
        futures = [lanes.submit(storm, seed, root, given.containers, mounts=mounts) for seed in seeds]
        for future in as_completed(futures):
            say(line(future.result()))
            yield future.result()
    finally:
        lanes.shutdown(cancel_futures=True)


def storm(seed: int, root: Path, containers: int, *, mounts: bool) -> Result:
    """Make one storm in a process of its own; what it lacks as an answer is a broken rule too."""
    words = [*(OWN_MOUNTS if mounts else ()), sys.executable, "-m", "tests.chaos.storm"]
    words += [str(seed), str(root / str(seed)), "--containers", str(containers)]
    words += ["--postgresql"] * (seed % 2) + ["--mounts"] * mounts
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST, check=False)
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Result)
    except subprocess.TimeoutExpired:
        return _no_answer(seed, f"no answer in {LONGEST:.0f} s")
    except (IndexError, msgspec.DecodeError):
        return _no_answer(seed, f"the harness ended with {done.returncode}: {done.stderr[-600:]}")


def _no_answer(seed: int, why: str) -> Result:
    record = "postgresql" if seed % 2 else "sqlite"
    return Result(
        seed=seed, database=record, seconds=0.0, actions=(), ended="unknown", said="", broken=(why,)
    )


def line(result: Result) -> str:
    """Return one storm's line."""
    verdict = "BROKEN" if result.broken else "held"
    what = ", ".join(result.actions) + (f": {result.said.splitlines()[0][:80]}" if result.said else "")
    start = f"{result.seed:>6}  {result.database:<10}  {result.seconds:>5.0f} s"
    return f"{start}  {result.ended:<9}  {verdict:<6}  {what}"


def summary(results: Sequence[Result]) -> str:
    """Return what all storms showed together."""
    ended = Counter((one.database, one.ended) for one in results)
    lines = [f"{len(results)} storms, {sum(len(one.actions) for one in results)} actions"]
    lines += [f"  {record:<10}  {state:<9}  {number:>4}" for (record, state), number in sorted(ended.items())]
    lines += [f"  {name:<18}  {number:>4}" for name, number in sorted(_seen(results).items())]
    seconds = sorted(one.seconds for one in results)
    lines.append(
        f"seconds a storm: {seconds[0]:.0f} to {seconds[-1]:.0f}, median {seconds[len(seconds) // 2]:.0f}"
    )
    lines.append(f"{sum(bool(one.broken) for one in results)} broken")
    return "\n".join(lines)


def unshown(results: Sequence[Result], *, mounts: bool) -> list[str]:
    """Return the actions that never happened: then the series proves less than it claims."""
    disks = {name for name in NAMES if name.endswith((" full", " read-only"))}
    wanted = {*NAMES, *BESIDES, DELETED} - (set() if mounts else {*disks, "prune", DELETED})
    return [f"no storm had '{name}'" for name in sorted(wanted - _seen(results).keys())]


def _seen(results: Sequence[Result]) -> Counter[str]:
    return Counter(action.partition("@")[0] for one in results for action in one.actions)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.series", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="how many storms (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="the first one's; the next has the next")
    parser.add_argument("--jobs", type=int, default=2, help="processes at once (default: 2)")
    parser.add_argument("--containers", type=int, default=24, help="of one backup (default: 24)")
    parser.add_argument(
        "--enough", type=int, default=100, help="from how many storms on every action must have been seen"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
