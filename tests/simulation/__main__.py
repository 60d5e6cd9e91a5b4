"""``python -m tests.simulation --runs 1000 --seed 1 --jobs 2``: years; 1 if a rule was broken."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.simulation.simulation import Lived, live, shrink


def main() -> int:
    """Live the years, print each in which a rule was broken, and sum up."""
    given = _arguments()
    begun, counts, broken = time.monotonic(), Counter[str](), 0
    for number, lived in enumerate(_lived(given), 1):
        counts.update(lived.counts)
        if lived.broken:
            broken += 1
            _say(str(lived))
        if not number % 50:
            _say(f"{number} times after {time.monotonic() - begun:.0f} s, {broken} with a broken rule")
    _say(f"{given.runs} times {given.days} days from seed {given.seed} on: {broken} with a broken rule")
    _say("\n".join(f"  {words}: {count:,}" for words, count in sorted(counts.items())))
    return 1 if broken else 0


def _lived(given: argparse.Namespace) -> Iterator[Lived]:
    seeds = range(given.seed, given.seed + given.runs)
    with ProcessPoolExecutor(given.jobs) as processes:
        yield from processes.map(partial(_live_and_shrink, given.days), seeds, chunksize=5)


def _live_and_shrink(days: int, seed: int) -> Lived:
    gc.disable()  # a year leaves little, and that goes at once
    lived = live(seed, days=days)
    gc.collect()
    return shrink(lived) if lived.broken else lived


def _say(words: str) -> None:
    sys.stdout.write(f"{words}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
