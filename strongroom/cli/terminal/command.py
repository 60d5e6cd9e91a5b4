"""What a command is made of."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import NamedTuple

from strongroom.cli.terminal.output import Output


class Command(NamedTuple):
    """A command: what it takes, and what it does.

    ``run`` returns the exit code, ``None`` meaning 0, and raises a
    :class:`~strongroom.errors.StrongroomError` for anything a person can put right.
    """

    arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace, Output], int | None]
    details: str = ""
