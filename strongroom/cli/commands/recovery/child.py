"""The commands that a recovery runs: each in a process of its own, as a person would type it.

A process of its own, so that no key outlives the command that needs it, and so that what the guide does is
exactly what the documents say. What a command asks goes to the terminal as always. Its document comes back,
with the error that it ended with: the guide tells that where it matters.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from shlex import join
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.cli.terminal.failures import GUIDED
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.cli.terminal.prompts import somebody_there
from strongroom.cli.terminal.stopping import Terminated
from strongroom.errors import StrongroomError, by_name


class Shown(Struct, frozen=True, kw_only=True):
    """What came of a step: the error that it is not done for, or ``None``."""

    error: StrongroomError | None = None


class Ran(Struct, frozen=True, kw_only=True):
    """A command that has ended: what was typed, and what it answered. ``code`` is its error; empty: none."""

    words: tuple[str, ...]
    exit_code: int
    document: Mapping[str, Any]

    @property
    def command(self) -> str:
        return join(("strongroom", *self.words))

    @property
    def code(self) -> str:
        if self.exit_code == 0:
            return ""
        error = self.document.get("error")
        return str(error["code"]) if isinstance(error, dict) else f"exit code {self.exit_code}"

    def shown(self, hint: str) -> Shown:
        """Return the error that it ended with; ``hint`` goes on from what the error says to do."""
        told = self.document.get("error")
        message = str(told["message"]) if isinstance(told, dict) else f"It ended with {self.code}."
        kind = by_name(self.code) or StrongroomError
        said = str(told.get("hint", "")) if isinstance(told, dict) else ""
        return Shown(error=kind(message, hint=" ".join(filter(None, (said, hint)))))


def run(words: Sequence[str], output: Output) -> Ran:
    """Run one command to its end; say which. Ctrl-C is for it too, and is raised here once it has ended."""
    output.say(paint(clean(f"  $ {join(('strongroom', *words))}"), "2"))
    argv = [sys.executable, "-m", "strongroom.cli", *words, "--json"]
    heard = None if somebody_there() else subprocess.DEVNULL
    with subprocess.Popen(
        argv, stdin=heard, stdout=subprocess.PIPE, env={**os.environ, GUIDED: "1"}
    ) as child:
        try:
            content, _ = child.communicate()
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, Terminated) or not somebody_there():
                child.terminate()  # Ctrl-C on a terminal came to the command too; this did not
            child.communicate()
            raise
    return Ran(words=tuple(words), exit_code=child.returncode, document=_document(content))


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
