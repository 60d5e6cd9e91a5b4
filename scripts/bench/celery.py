"""One backup through Celery to three targets, beside the same steps in one process without a broker.

``python -m scripts.bench.celery [--secrets N] [--seed N] [--s3] [--small]`` makes a JSONL file of secrets and
backs it up on a cluster of its own: two sealing processes, a real Redis, a real PostgreSQL that keeps what
it commits, three directories or three S3 servers. Each row goes to standard output as soon as it is
measured. The run record says where the time went, /proc what processes used, Redis how deep its queues were.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis import Redis
from sqlalchemy import create_engine, text

from scripts.bench import gen
from strongroom.config import Settings, load_settings
from strongroom.config.calendar import CalendarSettings
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Role
from strongroom.operations.backup.job import submit_backup
from strongroom.operations.engine.drive import drive
from strongroom.state.records import Run, RunState
from strongroom.state.store import RunStore
from strongroom.wiring.services import build_services
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.postgres import PostgresServer
from tests.process import free_port, installed
from tests.redis_server import RedisServer
from workers.supervisor import Cluster, run_cluster

POLICY = "bench"
SECRETS, SMALL = 1_000_000, 2_000
SEALING = 2
REGIONS = ("eu-central-1", "us-east-2", "ap-south-1")
QUEUES = ("control", "seal", "transfer", "verify")
POLL = 0.25
TICK = os.sysconf("SC_CLK_TCK")
OFF = "".join(
    f"{name} = false\n" for name in CalendarSettings.__struct_encode_fields__ if name != "time_zone"
)
"""Nothing else is due, or a beat that was never there before would begin with all that is daily."""
ALONE, THROUGH = "in one process, no broker", "through Celery"


# -- what is measured: one backup in a process of its own --------------------------------------------


def _once(file: Path, way: str) -> dict[str, Any]:
    """Back up once by the configuration of the environment; return the row's numbers."""
    settings = load_settings()
    watch = Watch(settings)
    run, seconds = _alone(settings, watch) if way == ALONE else _on_cluster(settings, watch)
    if run.state is not RunState.DONE:
        raise SystemExit(f"the run {run.state.value}: {run.error}")
    store = RunStore(settings.database_url)
    facts = _steps(store, run, seconds) | _database(settings.database_url, run) | watch.facts()
    return {"seconds": round(seconds, 2), "cpu_seconds": round(watch.cpu, 2), "peak_mib": watch.peak} | {
        "facts": facts
    }


def _alone(settings: Settings, watch: Watch) -> tuple[Run, float]:
    services = build_services(settings, role=Role.OPERATOR)
    services.store.check()
    with watch:
        began = time.monotonic()
        run, tickets = submit_backup(services, policy=POLICY)
        ended = drive(run, tickets, services, processes=1)
        return ended, time.monotonic() - began


def _on_cluster(settings: Settings, watch: Watch) -> tuple[Run, float]:
    """Run the policy on a cluster that lives for this alone."""
    found: list[tuple[Run, float]] = []

    def work(cluster: Cluster) -> None:
        try:
            with watch:
                found.append(_through_celery(settings))
        finally:
            cluster.stop()

    run_cluster(settings, on_ready=lambda cluster: threading.Thread(target=work, args=(cluster,)).start())
    return found[0]


def _through_celery(settings: Settings) -> tuple[Run, float]:
    from tasks.backup import full_backup  # the app reads the configuration when it is imported

    store = RunStore(settings.database_url)
    began = time.monotonic()
    request = full_backup.delay(policy=POLICY).id
    while True:
        ended = [run for run in store.runs(5) if run.request_id == request and run.state.final]
        if ended:
            return ended[0], time.monotonic() - began
        time.sleep(POLL)


@dataclass
class Process:
    """What a process has used: seconds of processor by the kernel's clock, and its memory's high water."""

    role: str
    cpu: float = 0.0
    before: float = 0.0
    kib: int = 0


@dataclass
class Watch:
    """Looks at all processes below this one, and into the queues, while the backup goes on."""

    settings: Settings
    processes: dict[int, Process] = field(default_factory=dict)
    depths: list[dict[str, int]] = field(default_factory=list)

    def __enter__(self) -> None:
        self._done = threading.Event()
        self._look(begins=True)
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        url = self.settings.broker.url
        broker = Redis.from_url(url) if url else None
        while not self._done.wait(POLL):
            self._look()
            if broker is not None:
                self.depths.append({name: broker.llen(name) for name in QUEUES})

    def _look(self, *, begins: bool = False) -> None:
        for pid, role in _below(os.getpid()):
            with contextlib.suppress(OSError, ValueError, IndexError):
                used = self.processes.setdefault(pid, Process(role))
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                used.cpu = (int(fields[11]) + int(fields[12])) / TICK
                used.before = used.cpu if begins else used.before
                status = Path(f"/proc/{pid}/status").read_text()
                used.kib = int(status.partition("VmHWM:")[2].split()[0])

    @property
    def cpu(self) -> float:
        """Seconds of all; where there is a cluster, without this process, which only looks on."""
        own = {os.getpid()} if len(self.processes) > 1 else set()
        return sum(one.cpu - one.before for pid, one in self.processes.items() if pid not in own)

    @property
    def peak(self) -> float:
        return round(max(one.kib for one in self.processes.values()) / 1024, 1)

    def facts(self) -> dict[str, Any]:
        cpu: Counter[str] = Counter()
        peak: dict[str, int] = defaultdict(int)
        for one in self.processes.values():
            cpu[one.role] += one.cpu - one.before  # type: ignore[assignment]
            peak[one.role] = max(peak[one.role], one.kib)
        found: dict[str, Any] = {f"cpu s, {role}": round(spent, 2) for role, spent in sorted(cpu.items())}
        found |= {f"MiB, {role}": round(kib / 1024, 1) for role, kib in sorted(peak.items())}
        if self.depths:
            most = {name: max(depth[name] for depth in self.depths) for name in QUEUES}
            found |= {f"deepest queue, {name}": depth for name, depth in most.items()}
            sums = [sum(depth.values()) for depth in self.depths]
            found |= {
                f"messages waiting at {tenth}0 %": sums[len(sums) * tenth // 10] for tenth in range(1, 10)
            }
        return found


def _below(root: int) -> Iterator[tuple[int, str]]:
    """Yield this process and all below it, with what each is."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for pid in parents:
        above = pid
        while above not in (root, 0, 1) and above in parents:
            above = parents[above]
        if above == root:
            yield pid, "this process" if pid == root else _role(pid)


def _role(pid: int) -> str:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"STRONGROOM_ROLE="):
                return entry.partition(b"=")[2].decode()
    return "others"


def _steps(store: RunStore, run: Run, seconds: float) -> dict[str, Any]:
    spent: Counter[str] = Counter()
    rows = store.rows(run.id)
    at_work, until = 0.0, 0.0
    for began, ended, kind in sorted(
        (row.started_at or 0.0, row.finished_at or 0.0, row.step.kind.value) for row in rows
    ):
        spent[kind] += ended - began  # type: ignore[assignment]
        at_work += max(0.0, ended - max(began, until))
        until = max(until, ended)
    found = {"steps": len(rows)} | {f"s, {kind}": round(took, 2) for kind, took in spent.items()}
    return found | {"share of the time with no step at work": round(1 - at_work / seconds, 3)}


def _database(url: str, run: Run) -> dict[str, Any]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as conn:
        tables = conn.execute(text("SELECT relname FROM pg_stat_user_tables")).scalars().all()
        rows = sum(conn.execute(text(f'SELECT count(*) FROM "{name}"')).scalar_one() for name in tables)  # noqa: S608
        size = conn.execute(text("SELECT pg_database_size(current_database())")).scalar_one()
        own = "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables"
        own_size = conn.execute(text(own)).scalar_one()
        waited = "SELECT started_at - sent_at FROM steps WHERE run = :run AND started_at > 0 ORDER BY 1"
        waits = conn.execute(text(waited), {"run": run.id}).scalars().all()
    engine.dispose()
    return {
        "s a message waits, median": round(waits[len(waits) // 2], 3),
        "s a message waits, at most": round(waits[-1], 2),
        "rows": rows,
        "tables MiB": round(int(own_size) / 2**20, 2),
        "database MiB": round(size / 2**20, 1),
    }


# -- the installation, and both ways in turn ----------------------------------------------------------


def _configure(folder: Path, source: Path, targets: str, **state: str) -> dict[str, str]:
    """Write a configuration; return the environment that names it."""
    folder.mkdir(parents=True)
    file = folder / "strongroom.toml"
    file.write_text(
        f'[state]\nurl = "{state["database"]}"\n'
        + (f'[broker]\nurl = "{state["broker"]}"\n' if "broker" in state else "")
        + f'[sources.bench]\nkind = "files"\npath = "{source}"\n'
        f'[keys.recovery]\nkind = "hpke"\npublic_key = "{HpkeIdentity.generate().public}"\n'
        f'[policies.{POLICY}]\nkind = "full"\nsource = "bench"\nrecipients = ["recovery"]\n'
        f"targets = {json.dumps(REGIONS)}\n[workers]\nseal = {SEALING}\n"
        '[limits]\ncontainer_bytes = "8MiB"\n' + targets + "[calendar]\n" + OFF
    )
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return kept | {
        "STRONGROOM_STATE_DIR": str(folder / "state"),
        "STRONGROOM_CONFIG": str(file),
        "LC_ALL": "C.UTF-8",
    }


def _directories(folder: Path) -> str:
    return "".join(
        f'[targets.{name}]\nkind = "directory"\npath = "{folder}/targets/{name}"\nregion = "{name}"\n'
        "create = true\n"
        for name in REGIONS
    )


def _buckets(folder: Path, servers: Sequence[MiniStack], name: str) -> str:
    """Make a bucket in each region; return the targets that are made of them."""
    credentials = folder / "credentials"
    words = "".join(f"{name} = {word}\n" for name, word in CREDENTIALS.items())
    credentials.write_text(f"[default]\n{words}")
    credentials.chmod(0o600)
    return "".join(
        f'[targets.{server.region}]\nkind = "s3"\nbucket = "{server.make_bucket(name)}"\n'
        f'region = "{server.region}"\nendpoint_url = "{server.endpoint}"\n'
        f'credentials_file = "{credentials}"\n'
        for server in servers
    )


def measure(given: argparse.Namespace, folder: Path, tell: Callable[[dict[str, Any]], None]) -> None:
    """Back up both ways, and tell each row."""
    source = given.data or folder / "data" / "secrets.jsonl"
    if given.data is None:
        print(f"making {given.secrets:,} secrets", file=sys.stderr)
        gen.write(source.parent, given.secrets, seed=given.seed, layout="jsonl")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(PostgresServer(fsync=True))
        broker = stack.enter_context(RedisServer(port=free_port()))
        servers = [stack.enter_context(MiniStack(name)) for name in REGIONS * given.s3]
        alone = 0.0
        for way in (ALONE, THROUGH):
            place = folder / "place"
            shutil.rmtree(place, ignore_errors=True)
            state = {"database": database.new_database()}
            state |= {"broker": broker.broker_url} if way == THROUGH else {}
            targets = _buckets(folder, servers, f"bench-{len(state)}") if servers else _directories(place)
            env = _configure(place, source, targets, **state)
            before = _cpu_of(database.pid)
            found = _apart(source, way, env)
            found["facts"]["cpu s, PostgreSQL"] = round(_cpu_of(database.pid) - before, 2)
            if way == THROUGH:
                found["facts"]["Celery's share of the processor"] = round(1 - alone / found["cpu_seconds"], 3)
            else:
                alone = found["cpu_seconds"]
            kind = "S3 servers" if servers else "directories"
            tell({"what": f"backup of JSONL to three {kind}, {way}", "who": "strongroom"} | found)


def _apart(file: Path, way: str, env: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "scripts.bench.celery", "--once", str(file), "--way", way]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _cpu_of(pid: int) -> float:
    """Return the seconds that a server and all its processes have used, ended ones too."""
    total = 0.0
    for one, _ in _below(pid):
        with contextlib.suppress(OSError, IndexError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15] if one == pid else fields[11:13])) / TICK
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.celery", description=__doc__)
    parser.add_argument("--secrets", type=int, default=SECRETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--data", type=Path, help="a JSONL file of so many secrets that is there already")
    parser.add_argument("--s3", action="store_true", help="three S3 servers instead of three directories")
    parser.add_argument("--small", action="store_true", help=f"{SMALL:,} secrets, for a test")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", default=THROUGH, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once is not None:
        print(json.dumps(_once(given.once, given.way)))
        return 0
    given.secrets = SMALL if given.small else given.secrets
    if given.s3 and installed("ministack", "bin", "ministack") is None:
        print("There is no S3 server: 'make live' installs it.", file=sys.stderr)
        return 1

    def tell(row: dict[str, Any]) -> None:
        print(json.dumps(row | {"secrets": given.secrets}), flush=True)

    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as folder:
        measure(given, Path(folder), tell)
    return 0


if __name__ == "__main__":
    sys.exit(main())
