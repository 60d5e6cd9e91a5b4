"""What was begun is taken back if it does not come to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def on_failure(undo: Callable[[], object]) -> Iterator[None]:
    """Call ``undo`` if the block ends in any exception, an interruption too; the exception goes on."""
    try:
        yield
    except BaseException:
        undo()
        raise
