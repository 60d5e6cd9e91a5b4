"""Destroying keys at their key services, so that nothing sealed for them opens any more.

A *version* is what can be destroyed by itself: of a transit key one of several, of any other kind
the whole key (0, or the version that its stanzas carry). No key service is believed because it said
"done": :meth:`Destroyer.look` asks how the key stands, and :meth:`Destroyer.opens` tries it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from strongroom.container.wrapping import Identity, Stanza
from strongroom.errors import KeyServiceError, StrongroomError
from strongroom.keys.errors import KeyDenied, PinLocked, PinRefused

__all__ = ["Destroyer", "Fate", "KeyVersionState", "attempt", "destroyed_mark", "is_destroyed"]


UNTRIED = (KeyDenied, PinLocked, PinRefused)
"""Refusals that are about us, and say nothing of the key."""


class Fate(StrEnum):
    """How a key version stands with its key service."""

    THERE = "there"
    PENDING = "pending"
    GONE = "gone"


class KeyVersionState(Struct, frozen=True, kw_only=True):
    """What a key service says of a key version; all of it public.

    Args:
        where: which key service answered: another one of the same name proves nothing.
        until: when a pending deletion is due (RFC 3339), empty if nobody says.
        absent: only its absence says that it is gone, and a wrong key service shows that as well:
            it counts only where the key was seen before.
        doubts: why a copy of the key may be left all the same; with one, nothing is proven.
        answer: the key service's own words, for the record.
    """

    fate: Fate
    where: str
    until: str = ""
    absent: bool = False
    doubts: tuple[str, ...] = ()
    answer: Mapping[str, str | int | bool] = {}


class Destroyer(Protocol):
    """A configured key whose versions can be destroyed. Making one calls nothing."""

    @property
    def name(self) -> str:
        """What the configuration calls the key."""
        ...

    @property
    def renews(self) -> bool:
        """Whether the key goes on under a new version, so that policies may keep naming it."""
        ...

    def owns(self, stanza: Stanza) -> bool:
        """Say whether a stanza was wrapped for this key, of whatever version."""
        ...

    def takes(self, version: int, other: int) -> bool:
        """Say whether destroying ``version`` destroys ``other`` too."""
        ...

    def look(self, version: int) -> KeyVersionState:
        """Ask the key service. Raises KeyServiceError if it does not answer."""
        ...

    def prepare(self, version: int) -> None:
        """See to it that nothing new is sealed under ``version``. Destroys nothing."""
        ...

    def destroy(self, version: int) -> None:
        """Destroy it; one that is gone already is fine. Raises KeyServiceError."""
        ...

    def identity(self, version: int) -> Identity:
        """Return what opened, for a real attempt. Raises StrongroomError where nothing is left."""
        ...


def attempt(destroyer: Destroyer, version: int, stanza: Stanza, context: bytes) -> tuple[bool, str]:
    """Try to open a stanza with a key that is to be gone; return whether it did, and what was said.

    Raises:
        KeyServiceError: the key service is away, or did not let us try: nothing is known.
    """
    try:
        opened = destroyer.identity(version).unwrap(stanza, context=context) is not None
    except KeyServiceError as error:
        if error.transient or isinstance(error, UNTRIED):
            raise
        return False, error.code
    except StrongroomError as error:
        return False, error.code
    return opened, "opened" if opened else "refused"


def is_destroyed(path: Path) -> bool:
    """Say whether a key's file is missing because it was destroyed on purpose."""
    return not os.path.lexists(path) and destroyed_mark(path).exists()


def destroyed_mark(path: Path) -> Path:
    """Return the file that says of a missing key file that it was destroyed on purpose."""
    return path.with_name(f"{path.name}.destroyed")
