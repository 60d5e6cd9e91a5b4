"""The table of forgeries."""

from __future__ import annotations

from tests.forgeries import signing, writing
from tests.forgeries.forgery import TABLE, Forgery


def forgeries() -> list[Forgery]:
    """Return every forgery, in the order of the groups."""
    if not TABLE:
        writing.enter()
        signing.enter()
    return TABLE
