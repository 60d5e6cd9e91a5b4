"""Time limits for threads, which nothing can interrupt: the process exits."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

log = logging.getLogger(__name__)

OVERDUE_EXIT: Final = 75
"""Exit status (``EX_TEMPFAIL``) of a worker that one of its threads held up for too long."""


@contextmanager
def deadline(seconds: float, what: str) -> Iterator[None]:
    """End this process if the block takes longer. Its steps' leases run out; others take over."""
    timer = threading.Timer(seconds, _give_up, args=(seconds, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(seconds: float, what: str) -> None:
    log.critical("deadline-passed", extra={"task": what, "seconds": seconds})
    logging.shutdown()
    os._exit(OVERDUE_EXIT)
