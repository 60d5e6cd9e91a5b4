"""Reading KV secrets of a live OpenBao: the source beside plain clients, in turns.

``python -m scripts.bench.vault [--seed N] [--small]`` prints a row of JSON for each measurement.

The *plain pooled client* is what a careful script does: one urllib3 pool, as many threads as requests
in flight, one GET of data a secret, the answer parsed, nothing checked. *One at a time* is the same
without threads. *hvac* reads metadata and data of each secret, one at a time, as tools do that
keep versions: beside it, secrets are counted and not requests.

On this machine client and server share the processors, so the ways differ by what they compute. A
Vault is somewhere else, and who waits for each answer waits for the wire too: so all but hvac are measured
again through a link that takes its time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hvac
import urllib3
from msgspec.structs import replace

from scripts.bench.link import linked
from strongroom.sources.vault import VaultSource
from strongroom.vault.client import Vault
from tests.live.openbao import INSTALL, OpenBao, dev_server, program

SECRETS = 10_000
IN_FLIGHT = 16
FOLDERS = 20
DELAY = 0.005
"""Seconds each way: another site of the same country."""
_UNBOUNDED = 1e9
POOLED, SINGLE = "plain pooled client", "plain client, one at a time"
HVAC, OURS = "hvac, one at a time", "strongroom"

Read = Callable[[], int]
"""Reads all secrets in one way; returns how many requests that took."""


class Plain:
    """GETs over one pool."""

    def __init__(self, server: OpenBao, port: int, *, in_flight: int) -> None:
        self._pool = urllib3.HTTPConnectionPool(
            "127.0.0.1",
            port,
            maxsize=in_flight,
            block=True,
            headers={"X-Vault-Token": server.token},
        )
        self._in_flight = in_flight

    def get(self, name: str) -> object:
        """Read one secret."""
        answer = self._pool.request("GET", f"/v1/secret/data/{name}", retries=False)
        return json.loads(answer.data)["data"]["data"]

    def post(self, name: str) -> None:
        """Write one secret."""
        body = json.dumps({"data": {"value": f"CANARY-{name}", "user": "app"}})
        answer = self._pool.request("POST", f"/v1/secret/data/{name}", body=body, retries=False)
        assert answer.status == 200, answer.status

    def post_and_get(self, name: str) -> object:
        """Write one secret, and read it back."""
        self.post(name)
        return self.get(name)

    def each(self, work: Callable[[str], object], names: Sequence[str]) -> int:
        """Do it for all names, as many at once as are in flight; return how many there were."""
        if self._in_flight == 1:
            return sum(1 for name in names if work(name) is not self)
        with ThreadPoolExecutor(self._in_flight) as threads:
            return sum(1 for _ in threads.map(work, names))


def row(
    what: str,
    who: str,
    secrets: int,
    seconds: float,
    *,
    cpu: float | None = None,
    peak: float | None = None,
    facts: Mapping[str, float] | None = None,
) -> None:
    """Print one measurement, as ``make bench`` reads it."""
    measured = {"cpu_seconds": cpu, "peak_mib": peak, "facts": facts}
    found = {"what": what, "who": who, "secrets": secrets, "seconds": seconds}
    print(
        json.dumps(found | {name: value for name, value in measured.items() if value is not None}), flush=True
    )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true", help="few secrets, as a test of this program does")
    arguments = parser.parse_args()
    if program() is None:
        print(f"  Vault: {INSTALL}", file=sys.stderr)
        return 1
    secrets, rounds = (40, 1) if arguments.small else (SECRETS, 3)
    names = [f"app-{number % FOLDERS:02}/secret-{number:06}" for number in range(secrets)]
    random.Random(arguments.seed).shuffle(names)
    with dev_server() as server, tempfile.TemporaryDirectory() as folder:
        print(f"writing {secrets:,} secrets into OpenBao", file=sys.stderr)
        port = server.process.port
        writer = Plain(server, port, in_flight=IN_FLIGHT)
        writer.each(writer.post, names)
        near = {**_plain(server, port, Path(folder), names), HVAC: _hvac(server, _few(names))}
        with linked(port, rate=_UNBOUNDED, delay=DELAY) as link:
            far = _plain(server, link, Path(folder), names)
            for number in range(rounds + 1):  # the first warms up
                _print_round("read Vault", near, names, is_printed=number > 0)
                if number <= 1:
                    _print_round("read Vault, 10 ms away", far, names, is_printed=number > 0)
        _print_unchanged(server, Path(folder), secrets)
    return 0


def _print_round(what: str, ways: Mapping[str, Read], names: Sequence[str], *, is_printed: bool) -> None:
    for way, read in ways.items():
        cpu = time.process_time()
        count, seconds = _timed(read)
        cpu = time.process_time() - cpu
        if is_printed:
            secrets = len(names) if way == OURS else count // (2 if way == HVAC else 1)
            row(what, way, secrets, seconds, cpu=cpu, facts={"requests a secret": count / secrets})


def _print_unchanged(server: OpenBao, folder: Path, secrets: int) -> None:
    """Read all a second time with nothing changed; and beside it what would tell that nothing has."""
    vault = Vault(server.connection(folder, in_flight=IN_FLIGHT))
    source = VaultSource(vault, mounts=("secret",), system=False)
    entries = list(source.list())
    for who, work in (
        (OURS, lambda: source.read(entries)),
        ("metadata alone", lambda: source.list(with_tags=True)),
    ):
        before, began = vault.requests, time.perf_counter()
        count = sum(1 for _ in work())
        seconds = time.perf_counter() - began
        asked = vault.requests - before
        row("read Vault, nothing changed", who, count, seconds, facts={"requests a secret": asked / secrets})


def _plain(server: OpenBao, port: int, folder: Path, names: Sequence[str]) -> Mapping[str, Read]:
    """Return the ways that a port can be read, whether the server or a link listens there."""
    pooled = Plain(server, port, in_flight=IN_FLIGHT)
    single = Plain(server, port, in_flight=1)
    connection = server.connection(folder, in_flight=IN_FLIGHT)
    vault = Vault(replace(connection, address=f"http://127.0.0.1:{port}"))
    source = VaultSource(vault, mounts=("secret",), system=False)
    entries = list(source.list())
    random.Random(1).shuffle(entries)  # as a backup asks for them: pieces are cut by hash

    def ours() -> int:
        before = vault.requests
        assert sum(secret is not None for secret in source.read(entries)) == len(names)
        return vault.requests - before

    return {
        POOLED: lambda: pooled.each(pooled.get, names),
        OURS: ours,
        SINGLE: lambda: single.each(single.get, _few(names)),
    }


def _hvac(server: OpenBao, names: Sequence[str]) -> Read:
    client = hvac.Client(url=server.address, token=server.token)

    def read() -> int:
        for name in names:
            client.secrets.kv.v2.read_secret_metadata(name)
            client.secrets.kv.v2.read_secret_version(name, raise_on_deleted_version=True)
        return 2 * len(names)

    return read


def _few(names: Sequence[str]) -> Sequence[str]:
    """Return as many as are worth waiting for, one at a time."""
    return names[: max(1, len(names) // 10)]


def _timed(read: Read) -> tuple[int, float]:
    start = time.perf_counter()
    count = read()
    return count, time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
