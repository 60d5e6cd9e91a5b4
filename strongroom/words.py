"""Numbers with their words, and the words of others, for messages."""

from __future__ import annotations


def plural(number: int, word: str) -> str:
    """Write a number with its word: ``1 secret``, ``2,000 secrets``."""
    return f"{number:,} {word}" + ("" if number == 1 else "s")


def spelled_out(text: str, *, but: str = "") -> str:
    """Return text of others in which no character moves a cursor, begins a line or changes an order.

    Args:
        but: what stays as it is all the same.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in but else _spelled(c) for c in text)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")
