"""Restores at speed: into a live OpenBao, into the local store, and into a stand-in of Secrets Manager.

``python -m scripts.bench.restores [--seed N] [--small]`` prints a row of JSON for each measurement.
*Strongroom* is ``strongroom restore`` from a sealed file: each secret planned, written with check-and-set,
put on record, read back and compared. *By Celery* is the same by a run of the cluster, which compares all
once more at its end. The *plain pooled client* writes each secret and reads it back, with nothing planned or
on record. Client, workers and server share this machine's processors.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.bench.vault import FOLDERS, IN_FLIGHT, Plain, row
from tests.live.moto import CREDENTIALS, REGION, Moto
from tests.live.openbao import INSTALL, OpenBao, dev_server, program

if TYPE_CHECKING:
    from strongroom.state.records import Run

SIZES = (1, 1_000, 10_000)
IN_AWS = 200
"""Secrets for Secrets Manager, whose own quotas let fifty a second through."""
VAULT, LOCAL, AWS = "restore into Vault", "restore into the local store", "restore into Secrets Manager"
POLL, PATIENCE = 0.02, 240.0
_SETTINGS = """
[vaults.bench]
address = "{address}"
token_file = "{token}"

[sources.bench]
kind = "vault"
vault = "bench"
mounts = ["secret"]
system = false
destination = true

[keys.recovery]
kind = "hpke"
public_key = "{public}"
identity_file = "{identity}"
"""
_AWS = """
[sources.aws]
kind = "aws"
region = "{region}"
endpoint_url = "{address}"
credentials_file = "{credentials}"
requests_per_second = 10000
destination = true
"""
_TARGET = '[targets.{name}]\nkind = "directory"\npath = "{name}"\nregion = "{name}"\ncreate = true\n'
_POLICY = """
[policies.of-{size}]
kind = "full"
source = "bench"
include = ["secret/of-{size}/*"]
targets = ["a", "b"]
recipients = ["recovery"]
"""


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few secrets, as a test of this program does")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return _child(arguments.child)
    if program() is None:
        print(f"  restores: {INSTALL}", file=sys.stderr)
        return 1
    sizes = (20,) if arguments.small else SIZES
    for size in sizes[-2:]:
        _by_command(size)
    for size, seconds in _by_celery(sizes).items():
        row(VAULT, "strongroom, by Celery", size, seconds)
    _into_aws(min(IN_AWS, sizes[-1]))
    return 0


# -- by the command, from a sealed file -----------------------------------------------------


def _by_command(size: int) -> None:
    names = [f"of-{size}/{name}" for name in _names(size)]
    with dev_server() as server, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        env = _installation(folder, server.address, server.token_file(folder).path)
        plain = Plain(server, server.process.port, in_flight=IN_FLIGHT)
        plain.each(plain.post, names)
        sealed = str(folder / "all.strongroom")
        given = ["--include-values", "--force", "--recipient", "recovery", "--source", "bench"]
        _strongroom(env, "backup", sealed, *given)

        _empty(server)
        opened = ["--backup-file", sealed, "--identity", str(folder / "state/recovery.key")]
        done = _strongroom(env, "restore", *opened, "--full-restore", "--force", "--to", "bench")
        facts = {"requests a secret": done["requests"] / size}
        row(VAULT, "strongroom", size, done["seconds"], cpu=done["cpu"], peak=done["peak"], facts=facts)

        _empty(server)
        began, cpu = time.perf_counter(), time.process_time()
        plain.each(plain.post_and_get, names)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        row(VAULT, "plain pooled client", size, seconds, cpu=cpu, facts={"requests a secret": 2.0})

        done = _strongroom(env, "restore", *opened, "--full-restore", "--force")
        row(LOCAL, "strongroom", size, done["seconds"], cpu=done["cpu"], peak=done["peak"])


def _into_aws(size: int) -> None:
    moto = Moto()
    with dev_server() as server, tempfile.TemporaryDirectory() as scratch, moto.server:
        folder = Path(scratch)
        credentials = folder / "credentials"
        lines = ["[default]", *(f"{name} = {value}" for name, value in CREDENTIALS.items())]
        credentials.write_text("\n".join(lines))
        credentials.chmod(0o600)
        aws = _AWS.format(region=REGION, address=moto.endpoint, credentials=credentials)
        env = _installation(folder, server.address, server.token_file(folder).path, more=aws)
        plain = Plain(server, server.process.port, in_flight=IN_FLIGHT)
        plain.each(plain.post, _names(size))
        sealed = str(folder / "all.strongroom")
        given = ["--include-values", "--force", "--recipient", "recovery", "--source", "bench"]
        _strongroom(env, "backup", sealed, *given)
        opened = ["--backup-file", sealed, "--identity", str(folder / "state/recovery.key")]
        done = _strongroom(env, "restore", *opened, "--full-restore", "--force", "--to", "aws")
        facts = {"requests a secret": done["requests"] / size}
        row(AWS, "strongroom", size, done["seconds"], cpu=done["cpu"], peak=done["peak"], facts=facts)


def _empty(server: OpenBao) -> None:
    """Make the mount anew."""
    server.unmount("secret")
    server.mount("secret")


def _names(size: int) -> list[str]:
    return [f"app-{number % FOLDERS:02}/secret-{number:06}" for number in range(size)]


def _strongroom(env: Mapping[str, str], *words: str) -> dict[str, float]:
    """Run a command; return its seconds, its processor's, its peak in MiB, and its requests to servers."""
    command = [sys.executable, "-m", "scripts.bench.restores", "--child", "command"]
    began = time.perf_counter()
    # The words come by the environment: what begins with a dash is not for this program's parser.
    words_env = {"STRONGROOM_BENCH_WORDS": json.dumps(words)}
    done = subprocess.run(command, env=dict(env) | words_env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found | {"seconds": time.perf_counter() - began}


# -- by the cluster --------------------------------------------------------------------------


def _by_celery(sizes: Sequence[int]) -> dict[int, float]:
    with dev_server() as server, tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        plain = Plain(server, server.process.port, in_flight=IN_FLIGHT)
        for size in sizes:
            plain.each(plain.post, [f"of-{size}/{name}" for name in _names(size)])
        policies = "".join(_POLICY.format(size=size) for size in sizes)
        env = _installation(folder, server.address, server.token_file(folder).path, more=policies)
        command = [sys.executable, "-m", "scripts.bench.restores", "--child", "cluster", *map(str, sizes)]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        shutil.rmtree(folder / "state", ignore_errors=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {int(size): seconds for size, seconds in found.items()}


def _installation(folder: Path, address: str, token: Path, *, more: str = "") -> dict[str, str]:
    """Write a configuration; return the environment in which it counts."""
    from strongroom.keys.hpke import HpkeIdentity

    state = folder / "state"
    state.mkdir()
    identity, key, file = HpkeIdentity.generate(), state / "recovery.key", state / "strongroom.toml"
    identity.save(key)
    file.write_text(
        _SETTINGS.format(address=address, token=token, public=identity.public, identity=key)
        + "".join(_TARGET.format(name=name) for name in ("a", "b"))
        + more
    )
    return os.environ | {"STRONGROOM_STATE_DIR": str(state), "STRONGROOM_CONFIG": str(file)}


# -- in a process of their own ---------------------------------------------------------------


def _child(words: Sequence[str]) -> int:
    return _command() if words[0] == "command" else _cluster([int(size) for size in words[1:]])


def _command() -> int:
    """Run the command that the environment holds, and count what it asks of servers."""
    import contextlib
    import resource

    from strongroom.cli.main import main as run_command
    from strongroom.sources.aws.client import Api
    from strongroom.vault.transport import Transport

    requests = [0]

    def counted(kind: type, name: str) -> None:
        method = getattr(kind, name)

        def ask(*given: object, **named: object) -> object:
            requests[0] += 1
            return method(*given, **named)

        setattr(kind, name, ask)

    counted(Transport, "send")
    counted(Api, "ask")
    sys.argv = ["strongroom", *json.loads(os.environ["STRONGROOM_BENCH_WORDS"])]
    code = 0
    with contextlib.redirect_stdout(sys.stderr):
        try:
            code = run_command() or 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {"requests": requests[0], "cpu": used.ru_utime + used.ru_stime, "peak": used.ru_maxrss / 1024}
        )
    )
    return code


def _cluster(sizes: Sequence[int]) -> int:
    """Back up and restore each size by a cluster of its own; print the seconds of the restores."""
    from strongroom.config import load_settings
    from workers.pools import POOLS
    from workers.supervisor import Cluster, run_cluster

    settings = load_settings()
    found: dict[int, float] = {}
    failed: list[BaseException] = []

    def work(cluster: Cluster) -> None:
        try:
            found.update({size: _restored(size) for size in sizes})
        except BaseException as error:  # noqa: BLE001 - the cluster has to be stopped
            failed.append(error)
        finally:
            cluster.stop()

    run_cluster(
        settings,
        pools=list(POOLS),
        on_ready=lambda cluster: threading.Thread(target=work, args=(cluster,)).start(),
    )
    if failed:
        print(failed[0], file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


def _restored(size: int) -> float:
    """Back a policy up, remove what it selects, restore it; return the seconds of the restore."""
    from strongroom.config import load_settings
    from strongroom.wiring import adapters
    from tasks.backup import full_backup
    from tasks.restore import restore_backup

    backup = _ended(full_backup.delay(policy=f"of-{size}").id)
    source = adapters.destinations(load_settings())["bench"]
    source.delete([entry.name for entry in source.list() if entry.name.startswith(f"secret/of-{size}/")])
    began = time.monotonic()
    run = _ended(restore_backup.delay(backup=backup.id, to="bench").id)
    seconds = time.monotonic() - began
    if run.facts["restore_compare"]["same"] != size:
        raise RuntimeError(f"{run.facts['restore_compare']} of {size}")
    return seconds


def _ended(request: str) -> Run:
    from strongroom.config import load_settings
    from strongroom.state.records import RunState
    from strongroom.state.store import RunStore

    store = RunStore(load_settings().database_url)
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        run = store.find(request)
        if run.state.final and run.state is not RunState.DONE:
            raise RuntimeError(run.error)
        if run.state.final:
            return run
        time.sleep(POLL)
    raise TimeoutError(f"a run is not done after {PATIENCE:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
