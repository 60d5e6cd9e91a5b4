"""Keeps a claim alive while its step works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from strongroom.errors import StrongroomError
from strongroom.state.records import Claim

if TYPE_CHECKING:
    from strongroom.state.store import RunStore


@contextmanager
def kept_alive(store: RunStore, claim: Claim, *, lease: float) -> Iterator[None]:
    """Renew ``claim`` three times a lease from a thread, until the block ends.

    A renewal that fails is not an error here: the fence decides when the step records, and
    a database that comes back in time changes nothing.
    """
    done = threading.Event()

    def renew() -> None:
        while not done.wait(lease / 3):
            try:
                if not store.renew(claim, lease=lease):
                    return
            except StrongroomError:
                continue

    thread = threading.Thread(target=renew, name=f"lease {claim.ticket.step}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
