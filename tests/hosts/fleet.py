"""Several hosts, each with a user, a name, a configuration and a state of its own, and no common folder.

    with fleet(tmp_path) as found:
        ada = found.begin("ada", "control", "submit", "beat", "verify")
        bob = found.join("bob", "seal")
        eve = found.join("eve", "transfer")
        found.start()

What they share is what a fleet shares: a Redis and a PostgreSQL that speak TLS alone, a source (OpenBao) and
buckets (S3), one of which is the stage. Each role logs in to the first three as ``cluster rules`` prints.

As root each host is another user, who cannot enter another's home, and has a host name of its own; else all
are one user. Where network namespaces can be made (:func:`tests.hosts.network.can_be_made`) it has a network
of its own too, from which it reaches these four servers and nothing else; ``Fleet.apart`` tells.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import Role
from strongroom.state.store import RunStore
from tests.cli.program import Done
from tests.closed_servers import ClosedPostgres, ClosedRedis
from tests.hosts.network import HostNetwork, can_be_made
from tests.live.certificates import Authority
from tests.live.ministack import CREDENTIALS, MiniStack
from tests.live.openbao import OpenBao, dev_server
from tests.patience import PATIENCE, until
from tests.process import ROOT, ends_with_this, free_port
from tests.ssh_people import allow, person
from tests.workers.cluster import descendants

POLICY: Final = "all"
OPENS: Final = {Role.VERIFY.value, Role.DRILL.value, Role.RECOVER.value}
"""Roles whose hosts have the key that opens backups."""
_FIRST_UID: Final = 61_000
CONFIG: Final = """\
[broker]
url = "rediss://strongroom-submit@127.0.0.1:{redis}/0"
password_file = "redis-submit"
ca_file = "ca.pem"

[state]
url = "postgresql://strongroom-operator@127.0.0.1:{postgres}/strongroom"
password_file = "postgres-operator"
ca_file = "ca.pem"

[vaults.main]
address = "{bao}"
token_file = "vault-operator"

[sources.vault]
kind = "vault"
vault = "main"
mounts = ["secret"]
destination = true

[stages.default]
kind = "s3"
bucket = "fleet-stage"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "s3-credentials"

[targets.eu]
kind = "s3"
bucket = "fleet-eu"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "s3-credentials"

[targets.us]
kind = "s3"
bucket = "fleet-us"
region = "eu-central-1"
endpoint_url = "{s3}"
credentials_file = "s3-credentials"

[keys.recovery]
kind = "hpke"
public_key = "{public}"
identity_file = "recovery.key"

[policies.{policy}]
{schedule}
kind = "full"
source = "vault"
targets = ["eu", "us"]
recipients = ["recovery"]
quorum = 1
regions = 1
providers = 1
single_recipient_reason = "a test"
verify = "compared"

[rotators.keys]
kind = "random"
include = ["secret/app/00*"]

[approvals]
allowed_signers = "people"

[approvals.rules.restores]
actions = ["restore"]
k = 1
people = ["alice@example.org"]

[drill]
policy = "{policy}"

[page]
act = true

[limits]
container_bytes = "64KiB"
lease_seconds = 5
patience_seconds = 600

[workers]
control = 1
seal = 1
transfer = 2
verify = 1
recover = 1
"""


@cache
def other_users_can_run_it() -> bool:
    """Tell whether this is root, and another user may run this interpreter with what is installed in it."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        return False
    become = ["setpriv", "--reuid", str(_FIRST_UID), "--regid", str(_FIRST_UID), "--clear-groups"]
    program = [sys.executable, "-P", "-c", "import strongroom.wiring.services, workers.app, psycopg, redis"]
    words = ["unshare", "--uts", *become, *program]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": "/nonexistent"}
    return subprocess.run(words, env=env, cwd=ROOT, capture_output=True, check=False).returncode == 0


_MIGRATE: Final = (
    "import sys; from strongroom.state.store import RunStore; from strongroom.errors import StrongroomError\n"
    "try: RunStore(sys.argv[1]).check()\n"
    "except StrongroomError as error: sys.exit(f'{error.message} {error.hint}')"
)


class FleetHost:
    """One host: commands that its user types, and a process for each of its roles, as units run them."""

    def __init__(self, root: Path, name: str, uid: int, network: HostNetwork | None) -> None:
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.network = network
        self.roles: tuple[str, ...] = ()
        self.serves: tuple[str, ...] = ()
        self.ports = {"page": free_port(), "metrics": free_port()}
        self.name, self.uid, self.home = name, uid if other_users_can_run_it() else 0, root / name
        self.home.mkdir(mode=0o700)
        self.state = self.home / "state"
        self.state.mkdir(mode=0o700)
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        self.env = kept | {
            "HOME": str(self.home),
            "STRONGROOM_STATE_DIR": str(self.state),
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.home),
            **{f"STRONGROOM_{name.upper()}__PORT": str(port) for name, port in self.ports.items()},
        }
        self.program = sys.executable
        self.own()

    def give(self, name: str, content: str | bytes) -> Path:
        """Put a file where this host's configuration lies, as somebody who set it up."""
        path = self.state / name
        path.touch(mode=0o600)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.own()
        return path

    def own(self) -> None:
        """Have all of it belong to the host's user."""
        if self.uid:
            for path in (self.home, *self.home.rglob("*")):
                os.chown(path, self.uid, self.uid, follow_symlinks=False)

    def words(self, *words: str) -> list[str]:
        """Return a command as this host's user, if it has one of its own, on this host."""
        named = ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name]
        named = [*(self.network.entering() if self.network else ()), *named]
        if not self.uid:
            return [*(named if os.geteuid() == 0 else ()), *words]
        become = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups"]
        return [*named, *become, *(("--pdeathsig", "KILL") if ends_with_this() else ()), *words]

    def inside(self) -> AbstractContextManager[None]:
        """Be on this host, as far as its network goes."""
        return self.network.entered() if self.network else nullcontext()

    def naming(self) -> list[str]:
        """Return what tells its name to a command where only root could name the host."""
        return [] if os.geteuid() == 0 else ["--name", self.name]

    def command(self, *words: str, stdin: str = "", **env: str) -> Done:
        """Type a command."""
        ended = subprocess.run(
            self.words(self.program, "-P", "-m", "strongroom.cli", *words),
            cwd=self.home,
            env=self.env | env,
            input=stdin.encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return Done(code=ended.returncode, out=ended.stdout.decode(), err=ended.stderr.decode())

    def ok(self, *words: str, stdin: str = "", **env: str) -> dict[str, Any]:
        """Type one that has to succeed; return its document."""
        done = self.command(*words, "--json", stdin=stdin, **env)
        assert done.code == 0, (words, done.err[-3000:], self.log[-3000:])
        found: dict[str, Any] = json.loads(done.out)
        return found

    @property
    def log(self) -> str:
        """All that its processes wrote."""
        files = sorted(self.home.glob("*.log"))
        return "\n".join(file.read_text(errors="replace") for file in files)

    @property
    def runs(self) -> bool:
        """Whether any of its processes does."""
        return any(process.poll() is None for process in self.processes.values())

    def start(self) -> FleetHost:
        """Start the processes of the roles that it has, each with the users of its role."""
        for role in (*self.roles, *self.serves):
            if role in ("submit", "watch") or self.alive(role):
                continue
            own = {
                "STRONGROOM_BROKER__URL": self.broker.replace("strongroom-submit", f"strongroom-{role}"),
                "STRONGROOM_BROKER__PASSWORD_FILE": str(self.state / f"redis-{role}"),
                "STRONGROOM_STATE__URL": self.database.replace("strongroom-operator", f"strongroom-{role}"),
                "STRONGROOM_STATE__PASSWORD_FILE": str(self.state / f"postgres-{role}"),
                "STRONGROOM_VAULTS__MAIN__TOKEN_FILE": str(self.state / f"vault-{role}"),
            }
            with (self.home / f"{role}.log").open("ab") as log:
                self.processes[role] = subprocess.Popen(
                    self.words(self.program, "-P", "-m", "workers", role),
                    cwd=self.home,
                    env=self.env | own,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        return self

    def alive(self, role: str) -> bool:
        """Whether the process of a role runs."""
        return role in self.processes and self.processes[role].poll() is None

    @property
    def _settings(self) -> dict[str, Any]:
        return tomllib.loads((self.state / "strongroom.toml").read_text())

    @property
    def broker(self) -> str:
        """Where the broker is, as its configuration says."""
        return str(self._settings["broker"]["url"])

    @property
    def database(self) -> str:
        """Where the database is."""
        return str(self._settings["state"]["url"])

    def kill(self) -> None:
        """End all that runs there at once, as a power cut would."""
        pids = {
            pid for process in self.processes.values() for pid in (process.pid, *descendants(process.pid))
        }
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self.processes.values():
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(
                    process.pid, signal.SIGKILL
                )  # what was started meanwhile: it has a session of its own
            process.wait()
        self.processes.clear()


class Fleet:
    """The hosts, and what they share."""

    def __init__(self, root: Path, stack: ExitStack, *, uid: int) -> None:
        self.root, self._uid, self._stack = root, uid, stack
        root.chmod(0o755)
        self.authority = Authority(root / "ca")
        self.redis = stack.enter_context(ClosedRedis(self.authority))
        self.postgres = stack.enter_context(ClosedPostgres(self.authority))
        self.bao: OpenBao = stack.enter_context(dev_server())
        self.s3 = MiniStack("eu-central-1", persist=True)
        stack.enter_context(self.s3.server)
        for bucket in ("fleet-stage", "fleet-eu", "fleet-us"):
            self.s3.make_bucket(bucket)
        self.alice = person(root / "alice", "alice@example.org")
        self.people = allow(root / "people", self.alice)
        self.identity = HpkeIdentity.generate()
        self.apart = can_be_made()
        self.hosts: dict[str, FleetHost] = {}
        self.passwords = root / "passwords"
        self.postgres.execute("CREATE DATABASE strongroom")
        stack.callback(self.stop)

    @cached_property
    def _client(self) -> Any:
        return self.s3.client()

    @property
    def store(self) -> RunStore:
        """The state database, as its owner."""
        return RunStore(self.postgres.url("strongroom"))

    def secrets(self, count: int, size: int = 12_000) -> dict[str, str]:
        """Put secrets into the source; return their values."""
        values = {f"app/{number:03}": f"CANARY-{number:03}-" + "x" * size for number in range(count)}
        for name, value in values.items():
            self.bao.call("POST", f"secret/data/{name}", {"data": {"value": value}})
        return values

    def host(self, name: str) -> FleetHost:
        """Make a host that has what only its owner can give it: passwords, and the certificate."""
        ports = (self.redis.tls_port, self.postgres.tls_port, self.bao.process.port, self.s3.server.port)
        network = self._stack.enter_context(HostNetwork(ports)) if self.apart else None
        host = FleetHost(self.root, name, self._uid + len(self.hosts), network)
        self.hosts[name] = host
        host.give("people", self.people.read_text())
        host.give("ca.pem", self.authority.ca.read_bytes())
        host.give(
            "s3-credentials",
            "[default]\n" + "".join(f"{name} = {value}\n" for name, value in CREDENTIALS.items()),
        )
        return host

    def hand_out(self, host: FleetHost, *roles: str) -> None:
        """Give a host what roles log in with, and what those open with that open."""
        if OPENS & {*roles}:
            self.identity.save(host.state / "recovery.key")
        for role in roles:
            for where in ("redis", "postgres", "vault"):
                if (file := self.passwords / f"{where}-{role}").exists():
                    host.give(file.name, file.read_text())

    def begin(self, name: str, *roles: str, schedule: str = "") -> FleetHost:
        """Make the first host: its configuration, the rules of both servers, and the cluster.

        With a schedule beat makes a first backup by itself.
        """
        host = self.host(name)
        host.give(
            "strongroom.toml",
            CONFIG.format(
                redis=self.redis.tls_port,
                postgres=self.postgres.tls_port,
                bao=self.bao.address,
                s3=self.s3.endpoint,
                public=self.identity.public,
                policy=POLICY,
                schedule=f'schedule = "{schedule}"' if schedule else "",
            ),
        )
        self.store.check()  # the owner of the database makes the tables
        folder = host.home / "passwords"
        for where, load in (("redis", self.redis.load), ("postgres", self._grant)):
            done = host.command("cluster", "rules", where, "--passwords", str(folder))
            assert done.code == 0, done.err
            load(done.out)
        shutil.move(folder, self.passwords)
        self._make_tokens(host)
        self.hand_out(host, *roles, "submit", "operator")
        host.roles = roles
        words = [word for role in roles for word in ("--role", role)]
        host.ok("cluster", "init", *host.naming(), *words)
        return host

    def _make_tokens(self, host: FleetHost) -> None:
        """Make each role a token in the source, with the policy that is printed for it; none for others."""
        for more in ((), ("--role", "operator")):
            printed = host.ok("cluster", "rules", "vault", *more)["policies"]["main"]
            for name, policy in printed.items():
                self.bao.policy(name, json.dumps(policy))
                token = self.passwords / f"vault-{name.removeprefix('strongroom-')}"
                token.write_text(self.bao.new_token(name))

    def _grant(self, sql: str) -> None:
        done = self.postgres.run(sql, "strongroom")
        assert done.returncode == 0, done.stderr

    @property
    def first(self) -> FleetHost:
        """The host that has the installation key."""
        return next(iter(self.hosts.values()))

    def token(self, *roles: str) -> str:
        """Make a token on the first host."""
        words = [word for role in roles for word in ("--role", role)]
        return str(self.first.ok("cluster", "token", *words)["token"])

    def join(self, name: str, *roles: str) -> FleetHost:
        """Have another host join by one token. Whoever runs where the installation key is certifies it."""
        host = self.host(name)
        host.roles = roles
        self.hand_out(host, *roles, "submit", "operator")
        ends = {"STRONGROOM_STATE__CA_FILE": str(host.state / "ca.pem")}
        ends["STRONGROOM_STATE__PASSWORD_FILE"] = str(host.state / "postgres-operator")
        words = ("cluster", "join", self.token(*roles), *host.naming())
        if not self.first.runs:
            waits = host.command(*words, "--no-wait", **ends)
            assert waits.code == 70, waits.err
            self.first.ok("cluster", "certify")
        host.ok(*words, **ends)
        return host

    def start(self) -> None:
        """Start all that does not run."""
        for host in self.hosts.values():
            host.start()

    def stop(self) -> None:
        """End all processes of all hosts."""
        for host in self.hosts.values():
            host.kill()

    def backup(self, host: FleetHost) -> str:
        """Have the cluster make a backup; return its run."""
        return str(host.ok("backup", "--policy", POLICY, "--cluster")["run"])

    def ended(self, run: str, *, seconds: float = 240) -> Any:
        """Wait for the end of a run."""
        store = self.store
        try:
            return until(
                lambda: found if (found := store.load(run)).state.final else None,
                what=lambda: (
                    f"the end of run {run}\n"
                    + "\n".join(f"-- {host.name}\n{host.log[-2500:]}" for host in self.hosts.values())
                ),
                seconds=seconds,
            )
        finally:
            store.close()

    def begun(self, run: str, kind: str = "") -> int:
        """Return how many steps of a kind, or of all, a run has begun."""
        of_kind = f" AND kind = '{kind}'" if kind else ""
        query = f"SELECT count(*) FROM steps WHERE run = '{run}' AND started_at > 0{of_kind}"
        return int(self.postgres.execute(query, url=self.postgres.url("strongroom"))[0][0])

    def owner(self, run: str, kind: str) -> str:
        """Return which process took a step of a kind last, as ``HOST:PID:…``."""
        query = f"SELECT owner FROM steps WHERE run = '{run}' AND kind = '{kind}' ORDER BY started_at DESC"
        return str(self.postgres.execute(query, url=self.postgres.url("strongroom"))[0][0])

    def newest(self, kind: str) -> str:
        """Return the newest run of a kind."""
        query = f"SELECT id FROM runs WHERE kind = '{kind}' ORDER BY created_at DESC"
        return str(self.postgres.execute(query, url=self.postgres.url("strongroom"))[0][0])

    def is_over(self, run: str) -> bool:
        """Tell whether a run has ended."""
        store = self.store
        try:
            return store.load(run).state.final
        finally:
            store.close()

    def migrate(self, tree: Path) -> Done:
        """Bring the database to a version's schema, as its owner does; the workers may not."""
        words = [sys.executable, "-P", "-c", _MIGRATE, self.postgres.url("strongroom")]
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree)}
        done = subprocess.run(words, env=env, cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            self._grant(self.first.command("cluster", "rules", "postgres").out)
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def names(self, bucket: str) -> list[str]:
        """Return the names of all that lies in a bucket."""
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def objects(self, bucket: str) -> dict[str, bytes]:
        """Return all that lies in a bucket."""
        client = self._client
        return {
            name: client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in self.names(bucket)
        }


@contextmanager
def fleet(root: Path) -> Iterator[Fleet]:
    """Give a fleet without hosts; end all of it afterwards."""
    folder = root / f"fleet-{os.getpid()}"
    folder.mkdir(mode=0o755)
    temporary = Path(tempfile.gettempdir()).resolve()
    for parent in folder.resolve().parents:  # other users pass through what is the test's own
        mode = parent.stat().st_mode
        if (parent == temporary or temporary in parent.parents) and not mode & 0o001:
            parent.chmod(mode | 0o011)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        yield Fleet(folder, stack, uid=_FIRST_UID + os.getpid() % 3000)
