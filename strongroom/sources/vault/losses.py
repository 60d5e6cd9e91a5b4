"""Collects what a restore could not reproduce."""

from __future__ import annotations

from collections.abc import Iterable

from strongroom.words import plural

MOST = 10_000
"""Lines kept; of the rest there is a count."""


class VaultLosses:
    """Lines, each once, in the order in which they came; no value is in them. Threads may share it."""

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}
        self._more = 0

    def add(self, line: str) -> None:
        """Note one."""
        if len(self._lines) < MOST:
            self._lines[line] = None
        else:
            self._more += 1

    def of(self, name: str, numbers: Iterable[int], what: str) -> None:
        """Note what became of versions of a secret, if there are any."""
        listed = spans(numbers)
        if listed:
            self.add(f"{name!r}, version {listed}: {what}")

    @property
    def lines(self) -> tuple[str, ...]:
        """All of them."""
        more = (f"and {plural(self._more, 'line')} more of this kind",) if self._more else ()
        return (*self._lines, *more)


def spans(numbers: Iterable[int]) -> str:
    """Write numbers as ``1-3, 7``."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in found)
