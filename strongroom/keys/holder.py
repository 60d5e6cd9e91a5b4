"""What every object that holds a key has in common: it shows itself in words, never in bytes."""

from __future__ import annotations

from typing import NoReturn


class KeyHolder:
    """Base of recipients and identities. Neither ``repr`` nor pickle shows the key."""

    __slots__ = ()

    def describe(self) -> str:
        """Say in words what this is."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an object that holds a key must not be pickled")
