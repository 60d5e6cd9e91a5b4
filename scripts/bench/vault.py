"""Reading KV secrets of a live OpenBao: the source beside plain clients, in turns.

The *plain pooled client* is what a careful script does: one urllib3 pool, as many threads as requests
in flight, one GET of data a secret, the answer parsed, nothing checked. *One at a time* is the same
without threads. *hvac* reads metadata and data of each secret, one at a time, as tools do that
keep versions: beside it, secrets are counted and not requests.

On this machine client and server share the processors, so the ways differ by what they compute. A
Vault is somewhere else, and who waits for each answer waits for the wire too: so all but hvac are measured
again through a link that takes its time.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import hvac
import urllib3
from msgspec.structs import replace

from scripts.bench.servers import linked
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
HVAC, OURS = "hvac, one at a time", "Strongroom"
WAYS = (POOLED, OURS, SINGLE, HVAC)

Read = Callable[[], int]
"""Reads all secrets in one way; returns how many requests that took."""


@dataclass(frozen=True, kw_only=True)
class VaultReads:
    """Medians. ``near`` and ``far`` are requests a second, on this machine and through the link;
    ``requests`` how many each way sends for a secret."""

    secrets: int
    in_flight: int
    near: dict[str, float]
    far: dict[str, float]
    requests: dict[str, float]

    @property
    def beside_pooled(self) -> float:
        """Our rate of requests over the plain pooled client's, where nothing hides what ours computes."""
        return self.near[OURS] / self.near[POOLED]

    @property
    def beside_single(self) -> float:
        """Our rate of requests over that of one request at a time, where each waits for the wire."""
        return self.far[OURS] / self.far[SINGLE]

    @property
    def beside_hvac(self) -> float:
        """Secrets that we read in a second over those that hvac does."""
        return self.secret_rate(OURS) / self.secret_rate(HVAC)

    def secret_rate(self, way: str) -> float:
        """Secrets read a second, with all that is known of them where ``way`` asks for it."""
        return self.near[way] / self.requests[way]


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

    def each(self, work: Callable[[str], object], names: Sequence[str]) -> int:
        """Do it for all names, as many at once as are in flight; return how many there were."""
        if self._in_flight == 1:
            return sum(1 for name in names if work(name) is not self)
        with ThreadPoolExecutor(self._in_flight) as threads:
            return sum(1 for _ in threads.map(work, names))


def measure(*, secrets: int, repeat: int) -> VaultReads | None:
    """Fill a server and read it in each way, in turns; the first round is not counted.

    ``None`` without a server.
    """
    if program() is None:
        print(f"  Vault: {INSTALL}", file=sys.stderr)
        return None
    names = [f"app-{number % FOLDERS:02}/secret-{number:06}" for number in range(secrets)]
    with dev_server() as server, tempfile.TemporaryDirectory() as folder:
        print(f"writing {secrets:,} secrets into OpenBao", file=sys.stderr)
        port = server.process.port
        writer = Plain(server, port, in_flight=IN_FLIGHT)
        writer.each(writer.post, names)
        near = _plain(server, port, Path(folder), names) | {HVAC: _hvac(server, _few(names))}
        with linked(port, rate=_UNBOUNDED, delay=DELAY) as link:
            far = _plain(server, link, Path(folder), names)
            rounds = [(_round(near), _round(far)) for _ in range(repeat + 1)][1:]
    return _medians(rounds, secrets)


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


def _round(ways: Mapping[str, Read]) -> dict[str, tuple[int, float]]:
    return {way: _timed(read) for way, read in ways.items()}


def _timed(read: Read) -> tuple[int, float]:
    start = time.perf_counter()
    count = read()
    return count, time.perf_counter() - start


Round = Mapping[str, tuple[int, float]]


def _medians(rounds: Sequence[tuple[Round, Round]], secrets: int) -> VaultReads:
    near, far = zip(*rounds, strict=True)
    return VaultReads(
        secrets=secrets,
        in_flight=IN_FLIGHT,
        near=_rates(near),
        far=_rates(far),
        requests={OURS: near[0][OURS][0] / secrets, POOLED: 1.0, SINGLE: 1.0, HVAC: 2.0},
    )


def _rates(rounds: Sequence[Round]) -> dict[str, float]:
    return {
        way: statistics.median(one[way][0] / one[way][1] for one in rounds)
        for way in WAYS
        if way in rounds[0]
    }
