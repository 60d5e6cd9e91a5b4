"""Three regions at once beside each region alone: how much of the distance adds up.

Each region is an S3 server of its own behind a link of fixed rate and of a delay of its own, for on one
machine all servers share its processors, and a backup to far regions waits for wires instead.
The backups run on the product's own cluster. What is compared is the time from the first
upload's start to the last one's end, as the run record has it.

``python -m scripts.bench.regions`` prints a row a line; with ``--once`` it is one backup on a cluster of its
own.
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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from scripts.bench import gen
from scripts.bench.link import linked, process
from strongroom.config import Settings, load_settings
from strongroom.keys.hpke import HpkeIdentity
from strongroom.state.records import Run, RunState, StepKind
from strongroom.state.store import RunStore
from strongroom.targets.s3 import S3Options
from strongroom.targets.s3.client import make_client
from tests.patience import until
from tests.process import free_port, listens
from workers.supervisor import Cluster, run_cluster

SECRETS, SMALL = 50_000, 200
DELAYS = {"eu-central-1": 0.005, "us-east-2": 0.05, "ap-south-1": 0.1}
"""Seconds each way, as from a host in Europe."""
NAMES = tuple(DELAYS)
TOGETHER = "all three at once"
WHAT = "upload to a region"
RATE = 4e6
PROGRAM = Path("build/live/ministack/bin/ministack")
CREDENTIALS = {"aws_access_key_id": "bench", "aws_secret_access_key": "bench"}
POLICY = "bench"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="seconds, to see that it works")
    parser.add_argument("--once", nargs="+", metavar="WORD", help="FILE REGION=PORT/BUCKET…")
    arguments = parser.parse_args()
    if arguments.once:
        return _backup(Path(arguments.once[0]), arguments.once[1:])
    if not PROGRAM.exists():
        print("no S3 server; 'make live' installs it", file=sys.stderr)
        return 1
    secrets = SMALL if arguments.small else SECRETS
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-regions-")))
        gen.write(scratch, secrets, seed=arguments.seed, layout="jsonl")
        ports = {name: stack.enter_context(_running(name)) for name in NAMES}
        for who, ways in (*((name, [name]) for name in NAMES), (TOGETHER, list(NAMES))):
            print(f"backing up to {who}", file=sys.stderr)
            buckets = [_bucket(name, *ports[name]) for name in ways]
            seconds = _once(scratch, buckets)
            row = {"what": WHAT, "who": who, "secrets": secrets, "seconds": seconds}
            print(json.dumps(row), flush=True)
    return 0


def _once(scratch: Path, buckets: Sequence[str]) -> float:
    """Back up to these regions once; return the seconds of its uploads."""
    state = scratch / "state"
    shutil.rmtree(state, ignore_errors=True)
    env = os.environ | {"STRONGROOM_STATE_DIR": str(state)}
    command = [sys.executable, "-m", "scripts.bench.regions", "--once", str(scratch / "secrets.jsonl")]
    done = subprocess.run([*command, *buckets], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-500:])
    return float(done.stdout.strip().splitlines()[-1])


# -- the servers ----------------------------------------------------------------------------


@contextlib.contextmanager
def _running(region: str) -> Iterator[tuple[int, int]]:
    """Run a region: a server, and a link before it; yield both ports."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-s3-") as folder:
        port = free_port()
        settings = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "IOT_MTLS_ENABLED": "0"}
        place = {"MINISTACK_REGION": region, "S3_DATA_DIR": folder, "STATE_DIR": folder, "HOME": folder}
        env = {"PATH": os.environ["PATH"]} | settings | place
        with (
            process([str(PROGRAM.resolve())], env=env, cwd=folder),
            linked(port, rate=RATE, delay=DELAYS[region]) as link,
        ):
            until(lambda: listens(port), what=f"the S3 server on port {port}")
            yield port, link


def _bucket(region: str, port: int, link: int) -> str:
    """Make a fresh bucket; return ``REGION=LINK_PORT/BUCKET``."""
    options = S3Options(bucket="any-bucket", region=region, endpoint_url=f"http://127.0.0.1:{port}")
    client: Any = make_client(options, **CREDENTIALS)
    bucket = f"bench-{len(client.list_buckets()['Buckets'])}"
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    return f"{region}={link}/{bucket}"


# -- one backup, in a process of its own ----------------------------------------------------


def _backup(source: Path, regions: Sequence[str]) -> int:
    """Back up on a cluster that lives for this alone; print the seconds of the uploads."""
    settings = _settings(source, regions)
    ended: list[Run] = []

    def work(cluster: Cluster) -> None:
        from tasks.backup import full_backup

        try:
            ended.append(_ended(RunStore(settings.database_url), full_backup.delay(policy=POLICY).id))
        finally:
            cluster.stop()

    run_cluster(
        settings,
        pools=["control", "seal", "transfer", "verify"],
        on_ready=lambda cluster: threading.Thread(target=work, args=(cluster,)).start(),
    )
    if not ended or ended[0].state is not RunState.DONE:
        print(ended[0].error if ended else "the backup did not end", file=sys.stderr)
        return 1
    rows = RunStore(settings.database_url).rows(ended[0].id, StepKind.UPLOAD)
    began = min(row.started_at for row in rows if row.started_at is not None)
    print(max(row.finished_at for row in rows if row.finished_at is not None) - began)
    return 0


def _ended(store: RunStore, request: str) -> Run:
    def ended() -> Run | None:
        return next((run for run in store.runs(5) if run.request_id == request and run.state.final), None)

    return until(ended, what="the backup to be done")


def _settings(source: Path, regions: Sequence[str]) -> Settings:
    folder = Path(os.environ["STRONGROOM_STATE_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    credentials = folder / "credentials"
    credentials.write_text(
        "[default]\n" + "".join(f"{name} = {word}\n" for name, word in CREDENTIALS.items())
    )
    credentials.chmod(0o600)
    names = [region.partition("=")[0] for region in regions]
    file = folder / "strongroom.toml"
    file.write_text(
        f'[sources.bench]\nkind = "files"\npath = "{source}"\n'
        f'[keys.recovery]\nkind = "hpke"\npublic_key = "{HpkeIdentity.generate().public}"\n'
        f'[policies.{POLICY}]\nkind = "full"\nsource = "bench"\nrecipients = ["recovery"]\n'
        f'targets = {json.dumps(names)}\nquorum = {len(names)}\nregions = {len(names)}\nverify = "present"\n'
        '[limits]\ncontainer_bytes = "8MiB"\n' + "".join(_target(one, credentials) for one in regions)
    )
    os.environ["STRONGROOM_CONFIG"] = str(file)
    return load_settings()


def _target(region: str, credentials: Path) -> str:
    name, _, place = region.partition("=")
    port, _, bucket = place.partition("/")
    return (
        f'[targets.{name}]\nkind = "s3"\nbucket = "{bucket}"\nregion = "{name}"\n'
        f'endpoint_url = "http://127.0.0.1:{port}"\ncredentials_file = "{credentials}"\n'
    )


if __name__ == "__main__":
    sys.exit(main())
