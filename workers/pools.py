"""The worker pools: one a queue, each with the kind of concurrency its work needs.

Sealing and verifying burn CPU, so they get processes. Transfers wait, so they get threads.
Control gets processes too, though its tasks are small: tick and reconcile heal everything
else, and prefork workers are the ones that kept running through every broker outage, with
limits that hold.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from workers import names

HARD_GRACE: Final = 60.0


class WorkerPool(Struct, frozen=True, kw_only=True):
    """One pool. ``limit`` is how long one task may take, in seconds.

    Prefork: a task past it is interrupted, and its process killed a minute later. Threads
    cannot be interrupted: the worker process exits, the supervisor starts it again, and
    reconcile hands its steps out again.
    """

    role: str
    kind: Literal["prefork", "threads"]
    concurrency: int
    limit: float
    always: bool = True

    def arguments(self, concurrency: int | None = None) -> list[str]:
        """Return the options of ``celery worker`` that make this pool.

        No gossip and no mingle: workers have nothing to tell each other, and what others
        tell them is not believed.
        """
        return [
            "--quiet",  # no banner: each line of a log is JSON
            "worker",
            f"--queues={self.role}",
            f"--hostname={self.role}@%h",
            f"--pool={self.kind}",
            f"--concurrency={concurrency or self.concurrency}",
            "--without-gossip",
            "--without-mingle",
            "--loglevel=INFO",
        ]


def _cores() -> int:
    return os.cpu_count() or 1


POOLS: Final[Mapping[str, WorkerPool]] = {
    pool.role: pool
    for pool in (
        WorkerPool(role=names.CONTROL, kind="prefork", concurrency=2, limit=1800.0),
        WorkerPool(role=names.SEAL, kind="prefork", concurrency=_cores(), limit=900.0),
        WorkerPool(role=names.TRANSFER, kind="threads", concurrency=8, limit=900.0),
        WorkerPool(role=names.VERIFY, kind="prefork", concurrency=_cores(), limit=900.0),
        WorkerPool(role=names.DRILL, kind="prefork", concurrency=1, limit=4 * 3600.0),
        WorkerPool(role=names.PRUNE, kind="prefork", concurrency=1, limit=4 * 3600.0),
        WorkerPool(role=names.RECOVER, kind="prefork", concurrency=_cores(), limit=4 * 3600.0, always=False),
    )
}
"""``recover`` holds identities and destination credentials, and is normally stopped."""
