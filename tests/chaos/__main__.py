"""``python -m tests.chaos --runs 50 --seed 1``: the long version, in several lanes at once.

Each run is a machine of its own: state directory, broker socket and process group. A run
repeats what it did if its seed is given again, as far as the scheduler of the machine lets it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tests.chaos import table
from tests.chaos.attempt import Outcome, attempt, stopped_short
from tests.chaos.log import Say, begin
from tests.postgres import PostgresServer


def main() -> int:
    """Run them all; return 1 if any promise was broken."""
    given, say = _arguments(), begin("kills.log")
    root = Path(tempfile.mkdtemp(prefix="sr-chaos-"))
    say(table.HEAD)
    outcomes = list(_runs(given, root, say))
    say(f"\n{table.summary(outcomes)}")
    wrong = [f"seed {one.seed}: {words}" for one in outcomes for words in one.violations]
    wrong += table.unshown(outcomes) if given.runs >= given.enough else []
    for words in wrong:
        say(words)
    if wrong:
        say(f"What is left of the broken runs: {root}")
        return 1
    shutil.rmtree(root)
    return 0


def _runs(given: argparse.Namespace, root: Path, say: Say) -> Iterator[Outcome]:
    with ExitStack() as undo:
        databases = _databases(given, undo)
        lanes = ThreadPoolExecutor(given.lanes)
        undo.callback(lanes.shutdown, cancel_futures=True)  # Ctrl-C waits for what runs, begins no more
        make = partial(attempt, containers=given.containers)
        futures = {
            lanes.submit(make, seed, root / str(seed), database=next(databases)): seed
            for seed in range(given.seed, given.seed + given.runs)
        }
        for future in as_completed(futures):
            wrong = future.exception()
            outcome = future.result() if wrong is None else stopped_short(futures[future], wrong)
            say(table.line(outcome))
            yield outcome


def _databases(given: argparse.Namespace, undo: ExitStack) -> Iterator[str | None]:
    """Give each run an empty PostgreSQL database, or nothing: then it keeps SQLite, as shipped."""
    server = undo.enter_context(PostgresServer(fsync=True)) if given.postgresql else None
    while True:
        yield server.new_database() if server else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="the first run's; the next has the next")
    parser.add_argument("--lanes", type=int, default=2, help="clusters at once (default: 2)")
    parser.add_argument("--containers", type=int, default=200, help="of one backup (default: 200)")
    parser.add_argument(
        "--enough", type=int, default=10, help="from how many runs on every kind of kill must have been seen"
    )
    parser.add_argument("--postgresql", action="store_true", help="keep the run record there, not in SQLite")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
