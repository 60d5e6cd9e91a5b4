"""The one record that every access log comes down to."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

LONGEST = 1024
"""Characters of a name that are kept: what is longer, somebody wrote there to fill a disk."""


class Did(StrEnum):
    """What somebody did, or tried."""

    READ = "read"
    OPENED = "used a key"
    REFUSED = "was refused"
    CHANGED = "changed permissions or logging"
    UNLOCKED = "shortened or lifted a lock"


class Read(Struct, frozen=True, kw_only=True):
    """Who did what, when, and from where, by which log. All of it may be written by an attacker.

    ``at`` is in seconds since the epoch. ``what`` is ``bucket/key``, ``account/container/blob``, the path of
    Vault, or the ARN of a key. ``how`` is the operation as the log calls it.
    """

    at: float
    who: str
    origin: str
    what: str
    did: Did
    how: str
    log: str = ""


class OddLine(ValueError):
    """A line that is none of its format."""


def printable(text: str) -> str:
    """Return what is safe to print and to store: one line, and no longer than a name may be."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text[:LONGEST])
