"""What every part of the state store stands on: one database, a transaction or a read at a time."""

from __future__ import annotations

from strongroom.state.engine import Database


class Transactions:
    """A database whose methods are one transaction or one read each; none is held across other I/O."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
