"""What a command is made of."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from strongroom.cli.terminal.output import Output

if TYPE_CHECKING:
    from strongroom.cli.terminal.answer import Answer

Work = Callable[[Namespace, Output], "Answer | None"]
"""What a command does: it returns its answer, or gives it itself because it goes on afterwards. It raises
a :class:`~strongroom.errors.StrongroomError` for anything a person can put right, or puts one into its
answer; the exit code is that of the error."""


class Command(NamedTuple):
    """A command: what it takes, and which function does its work.

    ``run`` names that function as ``module:function`` within the room. Its module is imported only
    after the arguments were parsed, so help and mistakes are answered at once. An action that is
    nested in a command names its own: ``parser.set_defaults(run="signers:list_signers")``. Where two ways of
    using one command need different modules, ``run`` is a function that chooses by the arguments.
    """

    arguments: Callable[[ArgumentParser], None]
    run: str | Callable[[Namespace], str] = ""
    details: str = ""
