"""A machine for a storm: its own broker, its own database, and a file system for each place that may fill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from msgspec import Struct, structs

from strongroom.model import Secret
from strongroom.state.store import RunStore
from tests.chaos import errands as errands_of
from tests.chaos.errands import Errands
from tests.chaos.place import POLICY, REGIONS, Place, made_up, make_place
from tests.chaos.wall_clock import WallClock
from tests.patience import PATIENCE
from tests.postgres import PostgresServer
from tests.process import ROOT, free_port
from tests.redis_server import RedisServer
from tests.workers.cluster import RunningCluster

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
    older: tuple[str, ...] = ()
    """The backups of earlier days."""

    def cli(self, *words: str) -> tuple[int, dict[str, Any], str]:
        """Type a command with ``--json``; return its exit code, its document, and what it said besides."""
        done = subprocess.run(
            [sys.executable, "-m", "strongroom.cli", *words, "--json"],
            cwd=ROOT,
            env={**os.environ, **self.place.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        try:
            document = json.loads(done.stdout)
        except ValueError:
            document = {}
        return done.returncode, document if isinstance(document, dict) else {}, done.stderr


@contextmanager
def site(
    root: Path, *, containers: int, seed: int, postgresql: bool, mounts: bool, errands: Errands
) -> Iterator[Site]:
    """Make a machine under ``root`` and start its cluster; leave no process."""
    with ExitStack() as undo:
        clock = undo.enter_context(_clock()) if errands.prune else None
        if clock is not None:
            clock.advance(-(errands.older + 1) * errands_of.DAY)
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
        errands_of.arrange(place, errands)
        store = undo.enter_context(closing(RunStore(place.database)))
        cluster = RunningCluster(place.state, *POOLS, *errands.pools, environment=place.environment)
        undo.callback(cluster.close)
        made = Site(
            place=place,
            secrets=secrets,
            cluster=cluster,
            store=store,
            redis=broker,
            postgres=server,
            mounts=mounts,
        )
        made = structs.replace(made, older=tuple(_older(made, errands, clock)))
        if errands.repair:
            errands_of.damage(made, errands)
        cluster.start()
        yield made


@contextmanager
def _clock() -> Iterator[WallClock]:
    """Give this machine a clock of its own, which the database's user can read too."""
    with tempfile.TemporaryDirectory(prefix="sr-clock-") as folder:
        Path(folder).chmod(0o755)
        yield WallClock(Path(folder))


def _older(at: Site, errands: Errands, clock: WallClock | None) -> Iterator[str]:
    """Make the backups of earlier days, a day apart, and have it be today."""
    for _ in range(errands.older):
        code, document, said = at.cli("backup", "--policy", POLICY, "--force")
        assert code == 0, said
        yield str(document["backup"])
        if clock is not None:
            clock.advance(errands_of.DAY)
    if clock is not None:
        clock.advance(-clock.moved)


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
