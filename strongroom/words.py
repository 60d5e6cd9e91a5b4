"""Numbers with their words, for messages."""

from __future__ import annotations


def plural(number: int, word: str) -> str:
    """Write a number with its word: ``1 secret``, ``2,000 secrets``."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")
