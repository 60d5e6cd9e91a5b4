"""Questions to a person: only where one sits, and never where an answer would be shown."""

from __future__ import annotations

import sys
from warnings import catch_warnings, simplefilter

from strongroom.cli.terminal.screen import paused
from strongroom.errors import UsageError
from strongroom.operations.errors import ConfirmationRequired


def somebody_there() -> bool:
    """Tell whether a person can be asked: both ends are a terminal."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def confirm(what: str, *, force: bool) -> None:
    """Ask whether to do ``what``, unless ``force`` answers. Anything but ``yes`` or ``y`` is no.

    Raises:
        ConfirmationRequired: the answer is no, or there is nobody to ask.
    """
    if force:
        return
    if not somebody_there():
        raise ConfirmationRequired(f"{what}. That needs a yes, and there is no terminal to ask on.")
    with paused():
        print(f"{what}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    if answer.strip().lower() not in ("y", "yes"):
        raise ConfirmationRequired("The answer was no.")


def hidden(prompt: str) -> str:
    """Ask for something that is not shown.

    Raises:
        UsageError: there is no terminal.
    """
    from getpass import GetPassWarning, getpass

    with paused(), catch_warnings():
        # Without a terminal getpass would fall back to showing what is typed.
        simplefilter("error", GetPassWarning)
        try:
            return getpass(prompt)
        except (GetPassWarning, EOFError, OSError):
            raise UsageError("There is no terminal to ask on.", hint="Pipe it in, or name a file.") from None


def hidden_twice(prompt: str) -> str:
    """Ask twice for something new, since nobody sees a slip.

    Raises:
        UsageError: the two differ.
    """
    first = hidden(f"{prompt}: ")
    if first != hidden(f"{prompt} again: "):
        raise UsageError("The two differ.", hint="Nothing was written. Repeat.")
    return first
