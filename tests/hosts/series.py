"""``python -m tests.hosts.series --runs 50 --seed 1``: three hosts, and something is killed in each run.

A host as a whole, Redis, or PostgreSQL, once or twice in each run, by the seed. After each run: it ended
well; there is one backup more, whole and compared with its source; nothing of a value or a name lies in the
clear on the stage or in a bucket. Ends with 1 if any of that was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from strongroom.state.records import RunState
from tests.hosts.fleet import Fleet, fleet
from tests.patience import until

SECRETS: Final = 24
LONGEST: Final = 600.0
"""Seconds that a run may take: a guard against a hang of the harness itself."""


class Lightning:
    """What is killed, and comes back a moment later."""

    def __init__(self, found: Fleet) -> None:
        self._found = found
        self.strikes: Mapping[str, Callable[[], None]] = {
            **{f"host {name}": lambda name=name: self._host(name) for name in found.hosts},  # type: ignore[misc]
            "redis": lambda: self._server(found.redis),
            "postgres": lambda: self._server(found.postgres),
        }

    def _host(self, name: str) -> None:
        host = self._found.hosts[name]
        host.kill()
        host.start()

    def _server(self, server: object) -> None:
        server.kill()  # type: ignore[attr-defined]
        server.start()  # type: ignore[attr-defined]


def begin(root: Fleet) -> dict[str, str]:
    """Set three hosts up, and start them; return the secrets that there are."""
    values = root.secrets(SECRETS)
    sys.stdout.write(f"networks of their own: {'yes' if root.apart else 'no, they cannot be made here'}\n")
    root.begin("ada", "control", "submit", "beat", "verify")
    root.join("bob", "seal")
    root.join("eve", "transfer")
    root.start()
    return values


def strike(found: Fleet, seed: int) -> tuple[list[str], list[str]]:
    """Make one backup while something is killed; return what was, and what was broken by that."""
    chance = random.Random(seed)
    lightning = Lightning(found)
    before = len(found.store.backups())
    run = found.backup(found.first)
    names = chance.choices(list(lightning.strikes), k=chance.randint(1, 2))
    for name in names:
        # A moment that the run is at, not a time: how many of its steps have begun.
        wanted = chance.randint(1, 8)
        until(
            lambda wanted=wanted: found.is_over(run) or found.begun(run) >= wanted,  # type: ignore[misc]
            what=f"step {wanted} of run {run}",
            seconds=LONGEST,
        )
        lightning.strikes[name]()
    return names, broken(found, run, before)


def broken(found: Fleet, run: str, before: int) -> list[str]:
    """Return which rules a run broke."""
    ended = found.ended(run, seconds=LONGEST)
    said = [] if ended.state is RunState.DONE else [f"it ended {ended.state.value}: {ended.error}"]
    backups = found.store.backups()
    if len(backups) != before + 1:
        said.append(f"there are {len(backups)} backups, and not {before + 1}")
    newest = max(backups, key=lambda entry: entry.created_at)
    if newest.secrets != max(entry.secrets for entry in backups) or newest.secrets < SECRETS:
        said.append(f"the newest has {newest.secrets} secrets")
    for bucket in ("fleet-stage", "fleet-eu", "fleet-us"):
        for name, content in found.objects(bucket).items():
            if b"CANARY-" in content or b"app/0" in content:
                said.append(f"in the clear: {bucket}/{name}")
    return said


def main() -> int:
    """Make all runs and print a line for each; return 1 if any rule was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.hosts.series", description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="how many (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="the first one's; the next has the next")
    given = parser.parse_args()
    struck: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="sr-hosts-") as folder, fleet(Path(folder)) as found:
        begin(found)
        for seed in range(given.seed, given.seed + given.runs):
            since = time.monotonic()
            names, said = strike(found, seed)
            struck.update(names)
            wrong += bool(said)
            verdict = "BROKEN" if said else "held"
            took = f"{time.monotonic() - since:>5.0f} s"
            sys.stdout.write(f"{seed:>6}  {took}  {verdict:<6}  {', '.join(names)}  {'; '.join(said)}\n")
            sys.stdout.flush()
    sys.stdout.write(f"{given.runs} runs, {wrong} broken; killed: {dict(sorted(struck.items()))}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
