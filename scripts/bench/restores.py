"""Restores into a live OpenBao through Celery: planned, written, read back, and compared at the end.

Client, workers and server share this machine's processors, so the seconds hold for a server that is as
near, and has as much to do beside.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.bench.vault import FOLDERS, IN_FLIGHT, Plain
from tests.live.openbao import INSTALL, OpenBao, dev_server, program

MOST_SECONDS = {1: 2.0, 1_000: 20.0, 10_000: 120.0}
"""The bars: how long a restore of so many secrets may take."""


@dataclass(frozen=True, kw_only=True)
class RestoreTimes:
    """The median seconds by how many secrets were restored, and the machine's load before the first."""

    seconds: dict[int, float]
    load: float


def measure(*, repeat: int, sizes: Sequence[int] = tuple(MOST_SECONDS)) -> RestoreTimes | None:
    """Restore each size ``repeat`` times, each on a new server and cluster; ``None`` without a server."""
    if program() is None:
        print(f"  restores: {INSTALL}", file=sys.stderr)
        return None
    load = os.getloadavg()[0]
    rounds = [found for _ in range(repeat) if (found := _once(sizes)) is not None]
    if not rounds:
        return None
    return RestoreTimes(
        seconds={size: statistics.median(one[size] for one in rounds) for size in sizes}, load=load
    )


def _once(sizes: Sequence[int]) -> dict[int, float] | None:
    with dev_server() as server, tempfile.TemporaryDirectory() as folder:
        _fill(server, sizes)
        server.token_file(Path(folder))
        state = Path(folder) / "state"
        command = [sys.executable, "-m", "scripts.bench.one_restore", server.address, f"{folder}/token"]
        env = os.environ | {"STRONGROOM_STATE_DIR": str(state)}
        env.pop("STRONGROOM_CONFIG", None)
        done = subprocess.run(
            [*command, *map(str, sizes)], env=env, capture_output=True, text=True, check=False
        )
        shutil.rmtree(state, ignore_errors=True)
    if done.returncode:
        print(f"  restores: {done.stderr[-500:]}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {int(size): seconds for size, seconds in found.items()}


def _fill(server: OpenBao, sizes: Sequence[int]) -> None:
    writer = Plain(server, server.process.port, in_flight=IN_FLIGHT)
    for size in sizes:
        folders = (f"of-{size}/app-{number % FOLDERS:02}" for number in range(size))
        writer.each(writer.post, [f"{folder}/secret-{number:06}" for number, folder in enumerate(folders)])
