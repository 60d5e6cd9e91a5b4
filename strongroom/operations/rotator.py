"""Rotators as this process's own configuration has them: which secrets they are for, and what they do."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Protocol

import msgspec

from strongroom.model import SecretBytes, Selection


class RotatorKind(StrEnum):
    """Who makes the new value."""

    RANDOM = "random"
    """Strongroom makes it and writes it."""
    COMMAND = "command"
    """The same; then a program gets it on its standard input, and brings it to whatever checks it."""
    VAULT_ENGINE = "vault-engine"
    """A secrets engine of a Vault makes it."""
    AWS = "aws"
    """The secret's own rotation function, which Secrets Manager calls."""


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a value is made of. Each of ``classes`` has at least one of its characters in it."""

    length: int
    classes: tuple[str, ...]


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A program and its arguments, and the seconds that it may take."""

    command: tuple[str, ...]
    timeout: float


class Engine(Protocol):
    """A secrets engine's endpoints for one secret."""

    def rotate(self) -> None:
        """Have the engine make another value. Raises VaultError."""
        ...

    def read(self) -> SecretBytes | None:
        """Return the value that counts now; ``None`` if the engine keeps it to itself. Raises VaultError."""
        ...


class SecretRotator(msgspec.Struct, frozen=True, kw_only=True):
    """What gives secrets a new value.

    Args:
        source: the source whose secrets it is for; empty for any.
        destination: the source whose login writes; empty for the one that is found (``Services.writer``).
        field: the field of a JSON object that holds the value; empty for the whole value, or the only field.
        shape: what the value is made of, where Strongroom makes it.
        program: gets the value on its standard input, and brings it where it is checked.
        engine: returns a secret's endpoints, by its name.
        check: gets the value on its standard input; its exit code says whether the value works.
        timeout: seconds to wait for a rotation that somebody else performs.
        to_do: what a person must still do afterwards.
    """

    name: str
    kind: RotatorKind
    source: str = ""
    destination: str = ""
    selection: Selection = Selection()
    field: str = ""
    shape: Shape | None = None
    program: Program | None = None
    engine: Callable[[str], Engine] | None = None
    check: Program | None = None
    timeout: float = 60.0
    to_do: str = ""
