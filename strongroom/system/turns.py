"""One at a time on this machine: what takes much memory for a moment."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_PATIENCE = 60.0
_PAUSE = 0.02


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Wait until no other process or thread of this installation is in such a block.

    Eight workers that derive a passphrase's key at once would take eight times its memory. The lock is on
    this very file: it needs no folder that all may write, and a reader's right is enough. It spares memory
    and guards nothing, so where it cannot be had (a file system without locks, somebody who holds it for a
    minute) the work goes on without.
    """
    descriptor = _opened()
    try:
        yield
    finally:
        if descriptor is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # for a child that was forked meanwhile too
            os.close(descriptor)


def _opened() -> int | None:
    try:
        descriptor = os.open(__file__, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    until = time.monotonic() + _PATIENCE
    while not _locked(descriptor) and time.monotonic() < until:
        time.sleep(_PAUSE)
    return descriptor


def _locked(descriptor: int) -> bool:
    """Take the lock, unless another has it; say so too if there is none to have."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
