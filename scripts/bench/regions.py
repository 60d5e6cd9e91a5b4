"""Three regions at once beside each region alone: how much of the distance adds up.

Each region is an S3 server of its own behind a link of fixed rate and delay, for on one machine
all servers share its processors, and a backup to far regions waits for wires instead.
The backups run on the product's own cluster. What is compared is the time from the first
upload's start to the last one's end, as the run record has it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.bench.servers import Server, at_hand, running
from scripts.bench.tools import Place, base_env

NAMES = ("eu-central-1", "us-east-2", "ap-south-1")
RATE = 4e6
DELAY = 0.01


@dataclass(frozen=True, kw_only=True)
class RegionRun:
    """Medians, seconds: of each region alone, and of all of them in one backup."""

    alone: dict[str, float]
    together: float

    @property
    def ratio(self) -> float:
        """Return how much longer all take than the slowest one alone."""
        return self.together / max(self.alone.values())


def measure(place: Place, *, repeat: int) -> RegionRun | None:
    """Run the backups ``repeat`` times, in turns; ``None`` without servers or if one failed."""
    if not at_hand():
        print("  regions: no S3 server; 'make live' installs it", file=sys.stderr)
        return None
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(running(name, rate=RATE, delay=DELAY)) for name in NAMES]
        ways = [*([server] for server in servers), servers]
        rounds = [[_once(way, place) for way in ways] for _ in range(repeat)]
    return _medians(rounds)


def _medians(rounds: Sequence[Sequence[float | None]]) -> RegionRun | None:
    columns = [[took for took in column if took is not None] for column in zip(*rounds, strict=True)]
    if not all(columns):
        return None
    *alone, together = map(statistics.median, columns)
    return RegionRun(alone=dict(zip(NAMES, alone, strict=True)), together=together)


def _once(servers: Sequence[Server], place: Place) -> float | None:
    """Back up to these regions once; return the seconds of its uploads."""
    state = place.scratch / "regions"
    shutil.rmtree(state, ignore_errors=True)
    env = base_env(place) | {"STRONGROOM_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "scripts.bench.one_region_backup", str(place.jsonl)]
    done = subprocess.run(
        [*command, *_buckets(servers)], env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        print(f"  regions: {done.stderr[-500:]}", file=sys.stderr)
        return None
    return float(json.loads(done.stdout.strip().splitlines()[-1])["upload_seconds"])


def _buckets(servers: Sequence[Server]) -> Iterator[str]:
    """Make a fresh bucket in each region; yield ``REGION=LINK_PORT/BUCKET``."""
    for server in servers:
        client = server.client()
        bucket = f"bench-{len(client.list_buckets()['Buckets'])}"
        client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": server.region})
        yield f"{server.region}={server.link}/{bucket}"
