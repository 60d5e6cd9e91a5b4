"""What happens to a machine in a storm: each action begins, lasts for a while, and is undone."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import redis
from msgspec import Struct

from tests.chaos.frozen import is_writable
from tests.chaos.place import REGIONS
from tests.chaos.site import Site
from tests.patience import PATIENCE
from tests.process import ServerProcess
from tests.workers.cluster import descendants

POOLS: Final = ("control", "seal", "transfer", "verify")
LEASE: Final = 5.0
"""Seconds: the shortest that a configuration allows. A process that is stopped is stopped for longer."""


class Action(Struct, frozen=True, kw_only=True):
    """One planned action: due once the run's uploads have come as far as ``at`` (0 to 1; below 0: before the
    backup is asked for), or ``LATEST`` seconds after that. It ``lasts`` so many seconds."""

    name: str
    at: float
    lasts: float
    pick: int

    def __str__(self) -> str:
        return f"{self.name}@{self.at:.0%}" if self.at >= 0 else f"{self.name}@submission"


LATEST: Final = 20.0

Undo = Callable[[], object]
Begin = Callable[[Site, Action], Undo | None]
"""Begins an action and returns what undoes it; ``None`` if it cannot be begun just now."""


def plan(seed: int, *, postgresql: bool, mounts: bool) -> list[Action]:
    """Return what happens in a storm: two to five actions, no two of a name."""
    draw = random.Random(seed)
    names = sorted(name for name, needs in _NEEDS.items() if _possible(needs, postgresql, mounts))
    picked = draw.sample(names, k=draw.randint(2, 5))
    return sorted((_drawn(draw, name) for name in picked), key=lambda action: action.at)


def gusts(seed: int, *, postgresql: bool, mounts: bool) -> list[Action]:
    """Return one or two actions more, for what is asked for when the storm is over."""
    return plan(seed, postgresql=postgresql, mounts=mounts)[: 1 + seed % 2]


def _drawn(draw: random.Random, name: str) -> Action:
    early = draw.random() < 0.25 and name not in LATER
    return Action(
        name=name,
        at=-1.0 if early else round(draw.uniform(0.0, 0.9), 2),
        lasts=round(draw.uniform(LEASE + 3.0, 25.0), 1),
        pick=draw.randrange(1 << 16),
    )


def _possible(needs: str, postgresql: bool, mounts: bool) -> bool:
    return {"": True, "postgresql": postgresql, "sqlite": not postgresql, "mounts": mounts}[needs]


# -- processes ---------------------------------------------------------------------


def _nothing() -> None:
    """Undo what the product itself has to make good."""


def _main(site: Site, action: Action) -> int | None:
    return site.cluster.pid(POOLS[action.pick % len(POOLS)])


def _child(site: Site, action: Action) -> int | None:
    main = site.cluster.pid(("control", "seal", "verify")[action.pick % 3])
    children = sorted(descendants(main)) if main else []
    return children[action.pick % len(children)] if children else None


def _kill(pid: int | None) -> Undo | None:
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return _nothing
    return None


def _stop(site: Site, pid: int | None) -> Undo | None:
    """Stop a process for a while, but none that holds SQLite's write lock: that is a disk that hangs."""
    if pid is None:
        return None
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        if site.postgres is not None or is_writable(site.place.state / "state.db"):
            return lambda: _continue(pid)
    _continue(pid)
    return None


def _continue(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _kill_supervisor(site: Site, action: Action) -> Undo | None:
    site.cluster.note()
    return _kill(site.cluster.supervisor)  # the storm types "up" again


# -- broker and database -------------------------------------------------------------


def _start(server: ServerProcess) -> None:
    """Start a server that is not running: two actions may have taken it away."""
    if server.process is None or server.process.poll() is not None:
        server.start()


def _restart_broker(site: Site, action: Action) -> Undo:
    site.redis.kill()
    site.redis.start()
    return _nothing


def _empty_broker(site: Site, action: Action) -> Undo | None:
    with suppress(redis.RedisError):
        redis.Redis(unix_socket_path=str(site.redis.socket)).flushall()
        return _nothing
    return None


def _broker_away(site: Site, action: Action) -> Undo:
    site.redis.kill()
    return lambda: _start(site.redis)


def _crash_database(site: Site, action: Action) -> Undo:
    assert site.postgres is not None
    site.postgres.kill()
    site.postgres.start()
    return _nothing


def _database_away(site: Site, action: Action) -> Undo:
    assert site.postgres is not None
    server = site.postgres
    server.kill()
    return lambda: _start(server)


def _database_locked(site: Site, action: Action) -> Undo:
    """Somebody holds SQLite's write lock, as a backup tool or a shell that was forgotten would."""
    held = sqlite3.connect(site.place.state / "state.db", timeout=PATIENCE, isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    return held.close


def _both_crash(site: Site, action: Action) -> Undo:
    _crash_database(site, action)
    return _restart_broker(site, action)


def _both_away(site: Site, action: Action) -> Undo:
    broker, database = _broker_away(site, action), _database_away(site, action)
    return lambda: (database(), broker())


# -- files ---------------------------------------------------------------------------


def _region(site: Site, action: Action) -> Path:
    return site.place.region(REGIONS[action.pick % len(REGIONS)])


def _away(site: Site, action: Action) -> Undo:
    """Take a target away as an unmounted disk is: its place is there, and is not its own."""
    marker = _region(site, action) / ".strongroom-target"
    gone = marker.with_name("gone")
    marker.rename(gone)
    return lambda: gone.rename(marker)


def fill(folder: Path) -> Undo:
    """Leave no room on a file system."""
    ballast = folder / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65_536)
    return lambda: ballast.unlink(missing_ok=True)  # there is none where the disk was read-only just then


def _read_only(folder: Path) -> Undo | None:
    if subprocess.run(["mount", "-o", "remount,ro", folder], capture_output=True, check=False).returncode:
        return None  # a file is just being written there
    return lambda: subprocess.run(["mount", "-o", "remount,rw", folder], capture_output=True, check=True)


_BEGIN: Final[dict[str, tuple[str, Begin]]] = {
    "child killed": ("", lambda site, action: _kill(_child(site, action))),
    "main killed": ("", lambda site, action: _kill(_main(site, action))),
    "beat killed": ("", lambda site, action: _kill(site.cluster.pid("beat"))),
    "supervisor killed": ("", _kill_supervisor),
    "child stopped": ("", lambda site, action: _stop(site, _child(site, action))),
    "main stopped": ("", lambda site, action: _stop(site, _main(site, action))),
    "broker restarted": ("", _restart_broker),
    "broker emptied": ("", _empty_broker),
    "broker away": ("", _broker_away),
    "database crashed": ("postgresql", _crash_database),
    "database away": ("postgresql", _database_away),
    "database locked": ("sqlite", _database_locked),
    "both crashed": ("postgresql", _both_crash),
    "both away": ("postgresql", _both_away),
    "target away": ("", _away),
    "target full": ("mounts", lambda site, action: fill(_region(site, action))),
    "target read-only": ("mounts", lambda site, action: _read_only(_region(site, action))),
    "stage full": ("mounts", lambda site, action: fill(site.place.stage)),
    "stage read-only": ("mounts", lambda site, action: _read_only(site.place.stage)),
    "state full": ("mounts", lambda site, action: fill(site.place.state)),
}
_NEEDS: Final = {name: needs for name, (needs, _) in _BEGIN.items()}
NAMES: Final = tuple(_BEGIN)
LATER: Final = frozenset({"child killed", "main killed", "child stopped", "main stopped"})
"""What makes sense only once there is work."""


def begin(site: Site, action: Action) -> Undo | None:
    """Begin an action; ``None`` too where another one is in its way."""
    with suppress(OSError, sqlite3.OperationalError):
        return _BEGIN[action.name][1](site, action)
    return None
