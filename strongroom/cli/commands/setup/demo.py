"""demo: the whole way there and back, on made-up secrets, in under a minute.

Back up through the real cluster to three regions, lose the machine, and bring everything
back on another one with the recovery key alone.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct
from rich.console import Console
from rich.status import Status

from strongroom.cli.commands.setup.arguments import ShowDemo
from strongroom.cli.shared.runs import follow, log_to
from strongroom.cli.shared.services import run_store
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, paint, plural, size
from strongroom.cli.terminal.stopping import interruption
from strongroom.config import load_settings
from strongroom.container.errors import VerificationFailed
from strongroom.keys import roles
from strongroom.keys.hpke import HpkeIdentity
from strongroom.model import ListedSecret, Media, RotationSchedule, Secret, SecretBytes, SecretVersion
from strongroom.operations.errors import RunFailed
from strongroom.sheet import Lines, Pairs, Part, Sheet, Table
from strongroom.sources.local import LocalStore
from strongroom.state.records import Replica, Run, RunState, StepKind
from strongroom.state.store import RunStore
from strongroom.times import measured, rfc3339
from workers.broker import find_server
from workers.supervisor import Cluster, run_cluster

# -- A thousand secrets as a company has them, all made up, the same ones every time ------------


COUNT = 1_000
SEED = 20_260_101

_TEAMS = {
    "payments": ("ledger", "payouts", "cards", "fraud", "invoices"),
    "identity": ("login", "sessions", "directory", "mfa", "consent"),
    "platform": ("ingress", "registry", "builds", "metrics", "mesh"),
    "media": ("uploads", "transcode", "player", "captions", "thumbs"),
    "search": ("index", "ranking", "crawler", "suggest", "logs"),
}
_PLACES = ("production", "production", "staging", "development")
_BEGAN = datetime(2023, 1, 1, tzinfo=UTC)
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"


def secrets(count: int = COUNT, *, seed: int = SEED) -> Iterator[Secret]:
    """Yield ``count`` different secrets; the same arguments give the same ones."""
    for number in range(count):
        yield _secret(random.Random(f"{seed}/{number}"), number)  # noqa: S311 - made up, and meant to repeat


def _secret(chance: random.Random, number: int) -> Secret:
    team = chance.choice(sorted(_TEAMS))
    service, place = chance.choice(_TEAMS[team]), chance.choice(_PLACES)
    kind = chance.choice(sorted(_KINDS))
    category, days, make = _KINDS[kind]
    history = chance.choice((1, 1, 1, 2, 3))
    created = _BEGAN + timedelta(hours=chance.randrange(20_000))
    versions = [_version(make(chance), at + 1, created + timedelta(days=90 * at)) for at in range(history)]
    return Secret(
        name=f"{place}/{team}/{service}/{kind.upper()}_{number:04}",
        versions=tuple(versions),
        type=kind,
        tags={
            "environment": place,
            "team": team,
            "category": category,
            "priority": "critical"
            if place == "production" and category in ("database", "signing")
            else "normal",
        },
        created_at=rfc3339(created),
        updated_at=versions[-1].created_at,
        expires_at=rfc3339(datetime(2027, 1, 1, tzinfo=UTC) + timedelta(days=chance.randrange(700))),
        rotation=RotationSchedule(days=days),
        metadata={"owner": f"{team}-oncall@example.org"},
    )


def _version(value: bytes, number: int, at: datetime) -> SecretVersion:
    media = Media.JSON if value[:1] == b"{" else Media.TEXT
    return SecretVersion(number=number, value=SecretBytes(value), media=media, created_at=rfc3339(at))


def _password(chance: random.Random) -> bytes:
    return "".join(chance.choices(_LETTERS, k=32)).encode()


def _api_key(chance: random.Random) -> bytes:
    return f"key_live_{chance.randbytes(24).hex()}".encode()


def _random_key(chance: random.Random) -> bytes:
    return base64.b64encode(chance.randbytes(64))


def _pem(chance: random.Random, title: str, size: int) -> str:
    text = base64.b64encode(chance.randbytes(size)).decode()
    body = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {title}-----\n{body}\n-----END {title}-----\n"


def _certificate(chance: random.Random) -> bytes:
    chain = (_pem(chance, "CERTIFICATE", size) for size in (1_400, 1_300, 1_200))
    return (_pem(chance, "PRIVATE KEY", 1_190) + "".join(chain)).encode()


def _ssh_key(chance: random.Random) -> bytes:
    return _pem(chance, "OPENSSH PRIVATE KEY", 350).encode()


def _client(chance: random.Random) -> bytes:
    client = {
        "client_id": f"{chance.getrandbits(96):024x}.apps.example.org",
        "client_secret": _password(chance).decode(),
    }
    return json.dumps(client).encode()


def _service_account(chance: random.Random) -> bytes:
    account = {
        "type": "service_account",
        "private_key_id": f"{chance.getrandbits(160):040x}",
        "private_key": _pem(chance, "PRIVATE KEY", 1_190),
        "client_email": f"robot-{chance.randrange(1000):03}@example.org",
    }
    return json.dumps(account).encode()


_KINDS: dict[str, tuple[str, int, Callable[[random.Random], bytes]]] = {
    "database_password": ("database", 90, _password),
    "api_key": ("third-party", 180, _api_key),
    "jwt_signing_key": ("signing", 30, _random_key),
    "tls_certificate": ("network", 365, _certificate),
    "ssh_key": ("access", 180, _ssh_key),
    "oauth_client": ("third-party", 180, _client),
    "service_account": ("cloud", 90, _service_account),
    "webhook_secret": ("third-party", 365, _random_key),
}


# -- How the demo tells what it does: alive on a terminal, plain lines elsewhere ----------------


Note = Callable[[str], None]


class Took(Struct, frozen=True, kw_only=True):
    """One stage that is over."""

    stage: str
    detail: str
    seconds: float


class Stages:
    """Shows stages on stderr as they happen, and remembers how long each took."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.over: list[Took] = []

    @contextmanager
    def stage(self, title: str, *, own_display: bool = False) -> Iterator[Note]:
        """Run a stage; call what it yields with what came of it.

        Args:
            own_display: the stage draws its own progress.
        """
        notes: list[str] = []
        began = time.monotonic()
        with _spinner(title, shown=self._output.lively and not own_display):
            yield notes.append
        self._end(Took(stage=title, detail=", ".join(notes), seconds=round(time.monotonic() - began, 2)))

    @contextmanager
    def part(self, title: str) -> Iterator[Note]:
        """Run something whose beginning is a stage: calling what it yields ends the stage."""
        began = time.monotonic()
        yield lambda detail: self.add(title, detail, time.monotonic() - began)

    def add(self, title: str, detail: str, seconds: float) -> None:
        """Note a part of a stage that was timed elsewhere."""
        self._end(Took(stage=title, detail=detail, seconds=round(seconds, 2)))

    def _end(self, took: Took) -> None:
        self.over.append(took)
        mark = paint(_mark(), "32;1")
        self._output.say(f"  {mark} {took.stage:<34} {took.seconds:>6.1f} s   {took.detail}".rstrip())


def _mark() -> str:
    return "✓" if (sys.stderr.encoding or "").lower().startswith("utf") else "ok"


@contextmanager
def _spinner(title: str, *, shown: bool) -> Iterator[None]:
    if not shown:
        yield
        return
    with Status(f" {title} …", console=Console(file=sys.stderr)):
        yield


# -- The demo's scratch place: a machine, three regions, and a safe with the recovery key -------


POLICY: Final = "weekly-full"
REGIONS: Final = ("frankfurt", "dublin", "toronto")
_KEPT: Final = frozenset({"STRONGROOM_DEBUG"})

_CONFIG: Final = """\
[sources.local]
kind = "local"

[keys.recovery]
kind = "hpke"
public_key = "{public_key}"
{targets}
[policies.{policy}]
kind = "full"
source = "local"
targets = {regions}
recipients = ["recovery"]
quorum = 2
regions = 2

[limits]
container_bytes = "1MiB"

[workers]
control = 1
seal = 2
transfer = 6
verify = 2
"""
_TARGET: Final = """
[targets.{name}]
kind = "directory"
path = "{path}"
region = "{name}"
create = true
"""


class Scratch(Struct, frozen=True, kw_only=True):
    """Where everything of a demo lies."""

    root: Path

    @property
    def state(self) -> Path:
        """The machine that will be lost."""
        return self.root / "machine"

    @property
    def fresh(self) -> Path:
        """The machine that comes after it."""
        return self.root / "new-machine"

    @property
    def recovery_key(self) -> Path:
        """The private half, which the cluster never sees."""
        return self.root / "safe" / "recovery.key"

    def region(self, name: str) -> Path:
        """Return a region's directory."""
        return self.root / "regions" / name

    def make_recovery_key(self) -> str:
        """Make the key pair; return the public half."""
        self.recovery_key.parent.mkdir(mode=0o700)
        identity = HpkeIdentity.generate()
        identity.save(self.recovery_key)
        return str(identity.public)

    def write_config(self, public_key: str) -> None:
        """Write the machine's configuration, which names the public half alone."""
        targets = "".join(_TARGET.format(name=name, path=self.region(name)) for name in REGIONS)
        names = "[" + ", ".join(f'"{name}"' for name in REGIONS) + "]"
        text = _CONFIG.format(public_key=public_key, targets=targets, policy=POLICY, regions=names)
        self.state.mkdir(mode=0o700, exist_ok=True)
        (self.state / "strongroom.toml").write_text(text)

    def use(self) -> None:
        """Make this process, and all that it starts, live on the demo's machine alone."""
        for name in [name for name in os.environ if name.startswith("STRONGROOM_") and name not in _KEPT]:
            del os.environ[name]
        os.environ["STRONGROOM_STATE_DIR"] = str(self.state)
        os.environ["STRONGROOM_CONFIG"] = str(self.state / "strongroom.toml")


@contextmanager
def scratch(keep: Path | None) -> Iterator[Scratch]:
    """Yield a place that is gone afterwards, whatever happens, unless it is to be kept."""
    root = Path(tempfile.mkdtemp(prefix="strongroom-demo-")) if keep is None else keep.absolute()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield Scratch(root=root)
    finally:
        if keep is None:
            _remove(root)


def _remove(root: Path) -> None:
    """Remove the place, also while the thread that Ctrl-C left behind still writes there."""
    for _ in range(40):
        shutil.rmtree(root, ignore_errors=True)
        if not root.exists():
            return
        time.sleep(0.05)


# -- The demo's backup: through the real cluster, by a Celery task, followed by its run record ---


class DemoBackup:
    """What the cluster made: the run, its steps' times, its replicas."""

    def __init__(self, run: Run, store: RunStore) -> None:
        self.run = run
        self.rows = store.rows(run.id)
        self.replicas: list[Replica] = store.replicas(run.id)

    def spent(self, kind: StepKind) -> float:
        """Return seconds from the first start to the last end of a kind of step."""
        times = [(row.started_at, row.finished_at) for row in self.rows if row.step.kind is kind]
        began = [at for at, _ in times if at is not None]
        ended = [at for _, at in times if at is not None]
        return max(ended) - min(began) if began and ended else 0.0

    def many(self, kind: StepKind) -> int:
        """Return how many steps of a kind there were."""
        return sum(row.step.kind is kind for row in self.rows)


def back_up(scratch: Scratch, stages: Stages, output: Output) -> DemoBackup:
    """Start the cluster, have it make one backup, and stop it again.

    Raises:
        StrongroomError: what the run failed of. Nothing is left running.
        KeyboardInterrupt: a signal ended the cluster.
    """
    log_to(scratch.root / "logs", None)
    work = _DemoWork(lambda: _submit(stages, output))
    with stages.part("Start the cluster") as started:
        stopped_by = run_cluster(
            load_settings(),
            on_ready=lambda cluster: work.begin(cluster, started),
            ephemeral=find_server() is None,
            log_folder=scratch.root / "logs",
            attended=True,
        )
    if stopped_by is not None:
        raise interruption(stopped_by)
    return work.outcome()


class _DemoWork:
    """What is done while the cluster runs: in a thread, for the main one keeps the processes."""

    def __init__(self, task: Callable[[], DemoBackup]) -> None:
        self._task = task
        self._made: DemoBackup | None = None
        self._wrong: BaseException | None = None

    def begin(self, cluster: Cluster, started: Note) -> None:
        """Begin, now that every process is ready."""
        started(f"{len(cluster.children)} processes: {', '.join(child.name for child in cluster.children)}")
        # A daemon: were the cluster stopped by Ctrl-C, it would follow a run that nobody ends.
        threading.Thread(target=self._run, args=(cluster,), name="demo", daemon=True).start()

    def outcome(self) -> DemoBackup:
        """Return what was made, or raise what went wrong."""
        if self._wrong is not None:
            raise self._wrong
        assert self._made is not None  # nothing else ends a cluster but a signal
        return self._made

    def _run(self, cluster: Cluster) -> None:
        try:
            self._made = self._task()
        except BaseException as error:  # noqa: BLE001 - whatever it is, a person gets words and no traceback
            self._wrong = error
        finally:
            cluster.stop()


def _submit(stages: Stages, output: Output) -> DemoBackup:
    with stages.stage("Back up through Celery", own_display=True) as note:
        from tasks.backup import full_backup

        request = full_backup.delay(policy=POLICY).id
        store = run_store()
        run = follow(output, request, patience=30.0)
        note(f"run {run.id}")
    return DemoBackup(_good(run), store)


def _good(run: Run) -> Run:
    if run.state is not RunState.DONE:
        raise RunFailed(f"The demo's run ended {run.state}: {run.error}")
    return run


# -- demo: the whole way there and back, on made-up secrets, in under a minute ------------------
#
# Back up through the real cluster to three regions, lose the machine, and bring everything
# back on another one with the recovery key alone.


def run_demo(given: ShowDemo, output: Output) -> Answer:
    began = time.monotonic()
    output.say(
        "Strongroom, there and back. All secrets are made up; everything happens in a scratch directory.\n"
    )
    with scratch(given.keep) as place:
        report = _there_and_back(place, Stages(output), given.secrets, output)
    return _answer(report | {"seconds": round(time.monotonic() - began, 1)})


def _there_and_back(place: Scratch, stages: Stages, count: int, output: Output) -> dict[str, Any]:
    place.use()
    _fill(place, stages, count)
    backup = back_up(place, stages, output)
    _steps(backup, stages)
    signer = _lose_everything(place, stages)
    region = backup.replicas[-1].target
    _restore(place, stages, region, signer)
    compared = _compare(place, stages, count)
    return _report(place, backup, stages, signer=signer, region=region, compared=compared)


def _fill(place: Scratch, stages: Stages, count: int) -> None:
    with stages.stage("Make a recovery key") as note:
        place.write_config(place.make_recovery_key())
        note("only its public half goes to the machine")
    with stages.stage("Fill the local store") as note:
        stored = LocalStore(place.state).import_(secrets(count))
        note(plural(stored, "secret"))


def _steps(backup: DemoBackup, stages: Stages) -> None:
    said = {
        StepKind.CAPTURE: ("  seal", "read, seal, reopen, compare, stage"),
        StepKind.UPLOAD: ("  upload", "to three regions, read back"),
        StepKind.COMMIT: ("  commit", "the manifest, last"),
        StepKind.VERIFY: ("  verify", "read back from every region"),
    }
    for kind, (title, words) in said.items():
        many = backup.many(kind)
        stages.add(title, f"{plural(many, 'task')}: {words}", backup.spent(kind))
    bad = [replica.target for replica in backup.replicas if not replica.good]
    if bad or len(backup.replicas) != 3:
        raise VerificationFailed(
            f"Not every region holds a verified backup (bad: {', '.join(bad) or 'unknown'})."
        )


def _lose_everything(place: Scratch, stages: Stages) -> str:
    """Delete the machine; return the one line that was noted of it: its fingerprint."""
    with stages.stage("Lose the machine") as note:
        signer = roles.installation_fingerprint(place.state / "keys" / "roles")
        shutil.rmtree(place.state)
        note("state directory deleted: store, keys, configuration, catalog")
    return signer


def _restore(place: Scratch, stages: Stages, region: str, signer: str) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "strongroom.cli",
        "restore",
        "--from-target",
        str(place.region(region)),
        "--full-restore",
    ]
    command += ["--identity", str(place.recovery_key), "--signer", signer, "--json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("STRONGROOM_")}
    env |= {
        "STRONGROOM_STATE_DIR": str(place.fresh),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with stages.stage("Restore on a new machine") as note:
        done = subprocess.run(command, env=env, cwd=place.root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise VerificationFailed(f"Restoring from {region} failed:\n{done.stderr.strip()}")
        note(f"from {region}, with the recovery key alone")


def _compare(place: Scratch, stages: Stages, count: int) -> int:
    """Compare every version of every secret with what was made up at the beginning."""
    with stages.stage("Compare every value") as note:
        wanted = list(secrets(count))
        store = LocalStore(place.fresh)
        found = list(store.read([ListedSecret(secret.name, 0) for secret in wanted]))
        wrong = [a.name for a, b in zip(wanted, found, strict=True) if a != b]
        if wrong or sum(1 for _ in store.list()) != count:
            raise VerificationFailed(f"{plural(len(wrong), 'secret')} did not come back as they were.")
        note(f"{plural(count, 'secret')}, all versions, tags and dates: all equal")
    return count


def _report(
    place: Scratch, backup: DemoBackup, stages: Stages, *, signer: str, region: str, compared: int
) -> dict[str, Any]:
    run = backup.run
    return {
        "backup": run.id,
        "policy": run.spec.policy,
        "secrets": run.facts["counts"]["secrets"],
        "size": run.facts["counts"]["size"],
        "containers": run.facts["plan"]["pieces"],
        "regions": [
            {
                "region": replica.target,
                "good": replica.good,
                "verified": replica.verified,
                "holds": _held(place, replica.target),
            }
            for replica in backup.replicas
        ],
        "recipients": [pin.describes for pin in run.spec.recipients],
        "post_quantum": all(pin.post_quantum for pin in run.spec.recipients),
        "signer": signer,
        "restored_from": region,
        "compared": compared,
        "stages": msgspec.to_builtins(stages.over),
    }


def _held(place: Scratch, region: str) -> int:
    return sum(path.stat().st_size for path in place.region(region).rglob("*") if path.is_file())


def _answer(report: dict[str, Any]) -> Answer:
    regions = [
        (r["region"], size(r["holds"]), "good" if r["good"] else "BAD", r["verified"] or "never")
        for r in report["regions"]
    ]
    stages = [(took["stage"], measured(took["seconds"]), took["detail"]) for took in report["stages"]]
    end = f"All of it held, in {report['seconds']:.0f} s. Nothing is left running."
    parts: list[Part] = [
        Pairs(_facts(report), "What was backed up, and who can open it"),
        Table(("Region", "Size", "State", "Verified to"), regions, "Where it lies"),
        Table(("Step", "Time", "What"), stages, "How long each step took"),
        Lines([end]),
    ]
    return Answer(record=report, sheet=Sheet(parts=parts))


def _facts(report: dict[str, Any]) -> list[tuple[str, str]]:
    opens = "; ".join(report["recipients"])
    containers = plural(report["containers"], "sealed container")
    equal = f"{report['compared']:,} of {report['secrets']:,}"
    return [
        ("Backup", f"{report['backup']}, policy {report['policy']}"),
        ("Secrets", f"{report['secrets']:,} in {containers}, {size(report['size'])}"),
        ("Who can open it", f"{opens}, and nobody else: not the machine that made it"),
        ("Signed by", report["signer"]),
        ("Brought back", f"from {report['restored_from']} alone, on a new machine: {equal} equal"),
    ]
