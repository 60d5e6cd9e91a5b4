"""Holding the cyclic garbage collector off while records stream through."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the collector, if it runs, until the block ends.

    Planning and sealing make hundreds of thousands of records and no cycles; each
    collection would walk all of them and find nothing. Memory is bounded by the piece.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def loading() -> Iterator[None]:
    """Do the same while modules are imported and services built, and count what came as there to stay.

    No later collection walks it, and a forked process does not get its pages copied for that.
    """
    with uncollected():
        yield
        gc.freeze()
