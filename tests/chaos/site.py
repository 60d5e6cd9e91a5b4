"""A machine for a storm: its own broker, its own database, and a file system for each place that may fill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from strongroom.model import Secret
from strongroom.state.store import RunStore
from tests.chaos.place import REGIONS, Place, made_up, make_place
from tests.postgres import PostgresServer
from tests.process import ROOT
from tests.redis_server import RedisServer
from tests.workers.cluster import RunningCluster, free_port

POOLS: Final = ("control", "seal", "transfer", "verify")
MARKER: Final = b"Strongroom keeps backups in this directory. Do not change it by hand.\n"
DISK: Final = "size=48m"
_LIMITS: Final = "lease_seconds = 5\npatience_seconds = 600\n"


class Site(Struct, frozen=True, kw_only=True):
    """The machine, and what of it can be taken away."""

    place: Place
    secrets: list[Secret]
    cluster: RunningCluster
    store: RunStore
    redis: RedisServer
    postgres: PostgresServer | None
    mounts: bool

    def cli(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Type a command with ``--json``; return its exit code, its document, and what it said besides."""
        done = subprocess.run(
            [sys.executable, "-m", "strongroom.cli", *words, "--json"],
            cwd=ROOT,
            env={**os.environ, **self.place.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {}
        return done.returncode, document if isinstance(document, dict) else {}, done.stderr


@contextmanager
def site(root: Path, *, containers: int, seed: int, postgresql: bool, mounts: bool) -> Iterator[Site]:
    """Make a machine under ``root`` and start its cluster; leave no process."""
    with ExitStack() as undo:
        broker = undo.enter_context(RedisServer(port=free_port()))
        server = undo.enter_context(PostgresServer()) if postgresql else None
        if mounts:
            _mount(root)
        secrets = made_up(containers, seed)
        place = make_place(
            root,
            secrets,
            opens=True,
            depth="compared",
            limits=_LIMITS,
            database=server.new_database() if server else None,
        )
        _arrange(place, broker)
        store = undo.enter_context(closing(RunStore(place.database)))
        cluster = RunningCluster(place.state, *POOLS, environment=place.environment)
        undo.callback(cluster.close)
        cluster.start()
        yield Site(
            place=place,
            secrets=secrets,
            cluster=cluster,
            store=store,
            redis=broker,
            postgres=server,
            mounts=mounts,
        )


def _mount(root: Path) -> None:
    """Give each place that may fill a file system of its own; they go with this process's mount namespace."""
    for folder in ("state", "state/stage", *(f"regions/{name}" for name in REGIONS)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{DISK},mode=700", "chaos", root / folder], check=True)


def _arrange(place: Place, broker: RedisServer) -> None:
    """Have targets that nobody makes anew where they are away, and a broker that can be taken away."""
    text = place.config.read_text().replace("create = true", "create = false")
    place.config.write_text(f'{text}\n[broker]\nurl = "{broker.broker_url}"\n')
    for name in REGIONS:
        place.region(name).mkdir(parents=True, exist_ok=True)
        (place.region(name) / ".strongroom-target").write_bytes(MARKER)
