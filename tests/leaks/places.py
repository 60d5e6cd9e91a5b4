"""Everything that a cluster writes, says or shows, as bytes to search through."""

from __future__ import annotations

import base64
import sqlite3
import urllib.request
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from tests.chaos.place import Place
from tests.leaks.search import Blob
from tests.patience import PATIENCE
from tests.workers.cluster import RunningCluster, descendants
from tests.workers.visitor import Visitor
from workers import flower, metrics_server, page_server, paths

FLOWER = ("/api/workers", "/api/tasks", "/api/queues/length", "/tasks", "/broker", "/workers", "/metrics")


class Everywhere:
    """The places where a running cluster could leave a value.

    Args:
        place: its machine, with the targets.
        cluster: its processes; with ``--flower``, ``--metrics`` and ``--page``.
    """

    def __init__(self, place: Place, cluster: RunningCluster) -> None:
        self._place = place
        self._cluster = cluster

    def redis(self) -> Redis:
        """Return a connection to the cluster's broker."""
        return Redis(unix_socket_path=str(paths.broker_socket(self._place.state)))

    def __iter__(self) -> Iterator[Blob]:
        yield from self.files()
        yield from self._statements()
        yield from self._broker()
        yield from self._processes()
        yield from self._flower()
        yield from self._metrics()
        yield from self._page()

    def files(self) -> Iterator[Blob]:
        """Every file of state, stage, logs, broker and targets, and how each is called."""
        for path in sorted(self._place.root.rglob("*")):
            name = str(path.relative_to(self._place.root))
            yield "the name of a file", name.encode()
            if path.is_file():
                with suppress(FileNotFoundError):  # provisional, and in place by now
                    yield name, path.read_bytes()

    def _statements(self) -> Iterator[Blob]:
        """The databases as SQL: a long text may be cut by pages in the file."""
        for file in (self._place.state / "state.db", self._place.state / "store" / "secrets.db"):
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
                yield f"{file.name} as SQL", "\n".join(connection.iterdump()).encode("utf-8", "replace")

    def _broker(self) -> Iterator[Blob]:
        with self.redis() as client:
            for key in client.scan_iter(count=1000):
                yield f"the name of a key {key!r}", key
                yield f"key {key!r}", _content(client, key)
            yield "Redis' slow log", repr(client.slowlog_get(1000)).encode()
            yield "Redis' clients", repr(client.client_list()).encode()

    def _processes(self) -> Iterator[Blob]:
        """What any user of the machine, or the same one, sees of a process."""
        for pid in {self._cluster.supervisor} | descendants(self._cluster.supervisor):
            for name in ("cmdline", "environ"):
                with suppress(OSError):
                    yield f"{name} of a process", Path(f"/proc/{pid}/{name}").read_bytes()

    def _flower(self) -> Iterator[Blob]:
        password = (paths.run_folder(self._place.state) / flower.GENERATED).read_text().strip()
        token = base64.b64encode(f"strongroom:{password}".encode()).decode()
        for page in FLOWER:
            url = f"http://127.0.0.1:{self._cluster.port}{page}"
            request = urllib.request.Request(url, headers={"Authorization": f"Basic {token}"})
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                yield f"Flower's {page}", answer.read()

    def _page(self) -> Iterator[Blob]:
        password = (paths.run_folder(self._place.state) / page_server.GENERATED).read_text().strip()
        visitor = Visitor(self._cluster.page_port)
        visitor.log_in(password)
        for path, text in visitor.walk().items():
            yield f"the page's {path}", text.encode()

    def _metrics(self) -> Iterator[Blob]:
        token = (paths.run_folder(self._place.state) / metrics_server.GENERATED).read_text().strip()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._cluster.metrics_port}/metrics",
            headers={"Authorization": f"Bearer {token}"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            yield "metrics", answer.read()


def _content(client: Redis, key: bytes) -> bytes:
    """Return all that a key of any type holds."""
    readers: dict[bytes, Any] = {
        b"string": client.get,
        b"list": lambda name: client.lrange(name, 0, -1),
        b"set": client.smembers,
        b"zset": lambda name: client.zrange(name, 0, -1, withscores=True),
        b"hash": client.hgetall,
        b"stream": client.xrange,
    }
    kind = client.type(key)
    with suppress(ResponseError):  # it was replaced between the two questions
        return b"\n".join(_flat(readers[kind](key))) if kind in readers else b""
    return b""


def _flat(found: Any) -> Iterator[bytes]:
    if isinstance(found, dict):
        found = found.items()
    if isinstance(found, bytes):
        yield found
    elif hasattr(found, "__iter__"):
        for part in found:
            yield from _flat(part)
