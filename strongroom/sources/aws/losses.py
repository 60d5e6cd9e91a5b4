"""Counts what writes could not reproduce, so that a restore can say it."""

from __future__ import annotations

import threading

SHOWN = 5


class AwsLosses:
    """A count for each kind of loss, with the first few names."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, tuple[str, ...]]] = {}

    def add(self, what: str, name: str) -> None:
        """Note that a secret lost something."""
        with self._lock:
            count, names = self._found.get(what, (0, ()))
            self._found[what] = (count + 1, names if len(names) == SHOWN else (*names, name))

    def lines(self) -> tuple[str, ...]:
        """Return a line for each kind."""
        with self._lock:
            return tuple(_line(what, *found) for what, found in sorted(self._found.items()))


def _line(what: str, count: int, names: tuple[str, ...]) -> str:
    more = ", …" if count > len(names) else ""
    return f"{what}: {count} ({', '.join(names)}{more})"
