"""Numbers with their words, and the words of others, for messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def plural(number: int, word: str) -> str:
    """Write a number with its word: ``1 secret``, ``2,000 secrets``, ``3 copies``."""
    return f"{number:,} {word if number == 1 else _many(word)}"


def size(number: int) -> str:
    """Write a number of bytes for people."""
    if number < 1024:
        return plural(number, "byte")
    power = min((number.bit_length() - 1) // 10, 4)
    return f"{number / 1024**power:,.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def verb(number: int, many: str) -> str:
    """Return a verb as it is said of a number; ``many`` is how it is said of many: ``are``, ``differ``."""
    return many if number != 1 else _OF_ONE.get(many, f"{many}s")


_OF_ONE = {"are": "is", "were": "was", "have": "has", "do": "does"}


def _many(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return f"{word}es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def name_first_few(names: Sequence[str], *, most: int = 3) -> str:
    """Name the first few, and say how many more there are."""
    more = len(names) - most
    return f"{', '.join(names[:most])} and {more:,} more" if more > 0 else ", ".join(names)


def told_alike(told: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yield what is said of each name, once for all of whom it is the same but for names and paths."""
    groups: dict[tuple[str, ...], tuple[str, list[str]]] = {}
    for name, text in told:
        alike = tuple(word for word in text.split() if "/" not in word and name not in word)
        groups.setdefault(alike, (text, []))[1].append(name)
    for text, names in groups.values():
        yield f"{name_first_few(names)}: {text}"


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which of the known names a mistyped one may have been meant for, and which there are."""
    names = sorted(known)
    return f"{did_you_mean(word, names)}Known: {', '.join(names)}." if names else "None exists yet."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Ask whether a mistyped name was meant for the nearest of many; empty if none is near."""
    from difflib import get_close_matches

    names = list(known)
    same = [name for name in names if name.lower() == word.lower()]
    close = same or get_close_matches(word, names, n=1)
    return f"Did you mean '{close[0]}'? " if close else ""


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
