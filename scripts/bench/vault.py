"""Reading KV secrets of a live OpenBao: the source beside plain clients, in turns.

The *plain pooled client* is what a careful script does: one urllib3 pool, as many threads as requests
in flight, one GET of data a secret, the answer parsed, nothing checked. *One at a time* is the same
without threads. *hvac* reads metadata and data of each secret, one at a time, as tools do that
keep versions: beside it, secrets are counted and not requests.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import hvac
import urllib3

from strongroom.sources.vault import VaultSource
from strongroom.vault.client import Vault
from tests.live.openbao import OpenBao, dev_server

SECRETS = 10_000
IN_FLIGHT = 16
FOLDERS = 20
POOLED, SINGLE = "plain pooled client", "plain client, one at a time"
HVAC, OURS = "hvac, one at a time", "Strongroom"
WAYS = (POOLED, OURS, SINGLE, HVAC)


@dataclass(frozen=True, kw_only=True)
class VaultReads:
    """Medians. ``rates`` are requests a second; ``requests`` how many each way sends for a secret."""

    secrets: int
    in_flight: int
    rates: dict[str, float]
    seconds: dict[str, float]
    requests: dict[str, float]

    @property
    def beside_pooled(self) -> float:
        """Our rate of requests over the plain pooled client's."""
        return self.rates[OURS] / self.rates[POOLED]

    @property
    def beside_single(self) -> float:
        """Our rate of requests over that of one request at a time."""
        return self.rates[OURS] / self.rates[SINGLE]

    @property
    def beside_hvac(self) -> float:
        """Secrets that we read in a second over those that hvac does."""
        return self.secret_rate(OURS) / self.secret_rate(HVAC)

    def secret_rate(self, way: str) -> float:
        """Secrets read a second, with all that is known of them where ``way`` asks for it."""
        return self.rates[way] / self.requests[way]


class Plain:
    """GETs over one pool."""

    def __init__(self, server: OpenBao, *, in_flight: int) -> None:
        self._pool = urllib3.HTTPConnectionPool(
            "127.0.0.1",
            server.process.port,
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


def measure(*, secrets: int, repeat: int) -> VaultReads:
    """Fill a server and read it in each way, in turns; the first round is not counted."""
    names = [f"app-{number % FOLDERS:02}/secret-{number:06}" for number in range(secrets)]
    with dev_server() as server, tempfile.TemporaryDirectory() as folder:
        print(f"writing {secrets:,} secrets into OpenBao", file=sys.stderr)
        writer = Plain(server, in_flight=IN_FLIGHT)
        writer.each(writer.post, names)
        with _ways(server, Path(folder), names) as ways:
            rounds = [{way: _timed(read) for way, read in ways.items()} for _ in range(repeat + 1)][1:]
    return _medians(rounds, secrets)


@contextmanager
def _ways(server: OpenBao, folder: Path, names: Sequence[str]) -> Iterator[dict[str, Callable[[], int]]]:
    pooled, single = Plain(server, in_flight=IN_FLIGHT), Plain(server, in_flight=1)
    vault = Vault(server.connection(folder, in_flight=IN_FLIGHT))
    source = VaultSource(vault, mounts=("secret",), system=False)
    entries = list(source.list())

    def ours() -> int:
        before = vault.requests
        assert sum(secret is not None for secret in source.read(entries)) == len(names)
        return vault.requests - before

    client = hvac.Client(url=server.address, token=server.token)

    def by_hvac(name: str) -> object:
        client.secrets.kv.v2.read_secret_metadata(name)
        return client.secrets.kv.v2.read_secret_version(name, raise_on_deleted_version=True)

    few = names[: max(1, len(names) // 5)]
    yield {
        POOLED: lambda: pooled.each(pooled.get, names),
        OURS: ours,
        SINGLE: lambda: single.each(single.get, few),
        HVAC: lambda: 2 * single.each(by_hvac, few),
    }


def _timed(read: Callable[[], int]) -> tuple[int, float]:
    start = time.perf_counter()
    count = read()
    return count, time.perf_counter() - start


def _medians(rounds: Sequence[dict[str, tuple[int, float]]], secrets: int) -> VaultReads:
    def median(way: str, of: Callable[[int, float], float]) -> float:
        return statistics.median(of(*one[way]) for one in rounds)

    return VaultReads(
        secrets=secrets,
        in_flight=IN_FLIGHT,
        rates={way: median(way, lambda count, seconds: count / seconds) for way in WAYS},
        seconds={way: median(way, lambda _, seconds: seconds) for way in WAYS},
        requests={OURS: rounds[0][OURS][0] / secrets, POOLED: 1.0, SINGLE: 1.0, HVAC: 2.0},
    )


def main() -> int:
    """Measure and print."""
    found = measure(secrets=SECRETS, repeat=5)
    for way, rate in found.rates.items():
        print(f"{way}: {rate:,.0f} requests/s, {found.requests[way]:.3f} requests a secret")
    print(f"Strongroom / pooled, requests: {found.beside_pooled:.2f}")
    print(f"Strongroom / one at a time, requests: {found.beside_single:.2f}")
    print(f"Strongroom / hvac one at a time, secrets: {found.beside_hvac:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
