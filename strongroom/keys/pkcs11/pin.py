"""Where a token's PIN comes from: a file that only its owner may read, or a person."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from strongroom.errors import ConfigError
from strongroom.keys.errors import PinRefused
from strongroom.keys.prompting import may_ask
from strongroom.model import SecretBytes
from strongroom.system import files, private_file
from strongroom.system.errors import KeyFileUnreadable


class Pin(Protocol):
    """A source of one token's PIN.

    ``unattended``: nobody looks on, so a PIN that may be wrong is not tried.
    """

    @property
    def unattended(self) -> bool: ...

    def ask(self, words: str) -> SecretBytes:
        """Return the PIN. ``words`` say for which token, and how its counter stands."""
        ...

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes of this host from trying the same PIN meanwhile."""
        ...

    def describe(self) -> str:
        """Say where it comes from."""
        ...


class PinFile:
    """A file of one line, mode 0600, read each time: a mended one works at once."""

    __slots__ = ("_path",)

    unattended = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, words: str) -> SecretBytes:  # noqa: ARG002  # the Protocol's
        """Return the PIN. Raises KeyFileUnreadable (empty, too), KeyFileExposed."""
        pin = private_file.read_private(self._path).rstrip("\r\n")
        if not pin.strip() or "\n" in pin:
            raise KeyFileUnreadable(f"'{self._path}' does not hold a PIN", hint="It is to have one line.")
        return SecretBytes(pin.encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the file's lock: of many workers that start with a wrong PIN, one tries it."""
        try:
            descriptor = files.open_locked(self._path, os.O_RDONLY | os.O_NONBLOCK)
        except OSError as error:
            raise KeyFileUnreadable(f"'{self._path}' cannot be read: {error.strerror}") from None
        try:
            yield
        finally:
            os.close(descriptor)

    def describe(self) -> str:
        return f"the PIN in '{self._path}'"


class PinPrompt:
    """Asks a person.

    Args:
        ask: shown one sentence, returns what was typed.
    """

    __slots__ = ("_ask",)

    unattended = False

    def __init__(self, ask: Callable[[str], str]) -> None:
        self._ask = ask

    def ask(self, words: str) -> SecretBytes:
        """Return the PIN.

        Raises:
            PinRefused: what was typed is none; a token would count it as a wrong one.
            ConfigError: nobody may be asked here; see :func:`~strongroom.keys.prompting.unasked`.
        """
        if not may_ask():
            raise ConfigError(f"{words} is needed where nobody can be asked", hint="Give it in a 'pin_file'.")
        pin = self._ask(words)
        if not pin.strip() or any("\ud800" <= each <= "\udfff" for each in pin):
            raise PinRefused("what was typed is no PIN; none was tried", hint="Repeat. Nothing was counted.")
        return SecretBytes(pin.encode())

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def describe(self) -> str:
        return "the PIN that was typed"
