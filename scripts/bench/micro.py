"""Sealing alone, in one process on one core: ``python -m scripts.bench.micro`` prints JSON.

The only place of the benchmark that calls the product as a library.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from typing import Any

from strongroom.container.cobblestone import seal

PIECE = 1024 * 1024
PIECES = 512
ROUNDS = 5


def _rate(seal: Any, key: bytes, plaintext: bytes) -> float:
    """Return GB/s over 512 messages of 1 MiB, by the processor's time: one core is all it has."""
    started = time.process_time()
    for _ in range(PIECES):
        seal(key, plaintext, context=b"bench")
    return PIECE * PIECES / (time.process_time() - started) / 1e9


def seal_rate() -> float:
    """Return the median GB/s of five rounds, pinned to one core."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    key, plaintext = os.urandom(32), os.urandom(PIECE)
    return statistics.median(_rate(seal, key, plaintext) for _ in range(ROUNDS))


if __name__ == "__main__":
    print(json.dumps({"seal_gb_per_second": seal_rate()}))
