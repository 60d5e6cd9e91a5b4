"""The commands that a recovery runs: each in a process of its own, as a person would type it.

A process of its own, so that no key outlives the command that needs it, and so that what the guide does is
exactly what the documents say. What a command asks goes to the terminal as always. Its document comes back,
with the error that it ended with: the guide tells that where it matters.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from shlex import join
from typing import Any

import msgspec
from msgspec import Struct

from strongroom.cli.errors import CommandCutShort
from strongroom.cli.terminal.failures import GUIDED
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.cli.terminal.prompts import somebody_there
from strongroom.cli.terminal.stopping import Terminated
from strongroom.errors import StrongroomError, by_name

ASKED = "asked-once"
"""Stands for the passphrase that was asked for, where a command would name its file."""


class Shown(Struct, frozen=True, kw_only=True):
    """What came of a step: the error that it is not done for, or ``None``."""

    error: StrongroomError | None = None


class Ran(Struct, frozen=True, kw_only=True):
    """A command that has ended: what was typed, and what it answered. ``code`` is its error; empty: none."""

    words: tuple[str, ...]
    exit_code: int
    document: Mapping[str, Any]

    @property
    def code(self) -> str:
        if self.exit_code == 0:
            return ""
        error = self.document.get("error")
        return str(error["code"]) if isinstance(error, dict) else f"exit code {self.exit_code}"

    def shown(self, hint: str) -> Shown:
        """Return the error that it ended with; ``hint`` goes on from what the error says to do."""
        told = self.document.get("error")
        message = str(told["message"]) if isinstance(told, dict) else self._unsaid()
        kind = by_name(self.code) or CommandCutShort
        said = str(told.get("hint", "")) if isinstance(told, dict) else ""
        return Shown(error=kind(message, hint=" ".join(filter(None, (said, hint)))))

    def _unsaid(self) -> str:
        """Say how a command ended that could not say it itself: somebody killed it, or it has a fault."""
        how = f"signal {-self.exit_code} killed it" if self.exit_code < 0 else f"it ended with {self.code}"
        return f"'strongroom {self.words[0]}' said nothing of how far it came: {how}."


def run(words: Sequence[str], output: Output, *, passphrase: str = "") -> Ran:
    """Run one command to its end; say which. Ctrl-C is for it too, and is raised here once it has ended.

    Args:
        passphrase: goes through a pipe to a command that takes one: no file and no other process has it.
    """
    shown = join(("strongroom", *words)).replace(f" --passphrase-file {ASKED}", "")
    output.say(paint(clean(f"  $ {shown}"), "2"))
    with _piped(passphrase if ASKED in words else "") as pipe:
        given = [word if word != ASKED else f"/dev/fd/{pipe}" for word in words]
        exit_code, content = _answer_of(given, [] if pipe is None else [pipe])
    return Ran(words=tuple(words), exit_code=exit_code, document=_document(content))


def _answer_of(words: Sequence[str], pipes: Sequence[int]) -> tuple[int, bytes]:
    argv = [sys.executable, "-m", "strongroom.cli", *words, "--json"]
    heard = None if somebody_there() else subprocess.DEVNULL
    environment = {**os.environ, GUIDED: "1"}
    with subprocess.Popen(
        argv, stdin=heard, stdout=subprocess.PIPE, pass_fds=pipes, env=environment
    ) as child:
        try:
            content, _ = child.communicate()
        except KeyboardInterrupt as stopped:
            if isinstance(stopped, Terminated) or not somebody_there():
                child.terminate()  # Ctrl-C on a terminal came to the command too; this did not
            child.communicate()
            raise
    return child.returncode, content


@contextmanager
def _piped(secret: str) -> Iterator[int | None]:
    """Yield the reading end of a pipe that holds a secret, for a command to inherit."""
    if not secret:
        yield None
        return
    reading, writing = os.pipe()
    try:
        os.write(writing, secret.encode())
        os.close(writing)
        yield reading
    finally:
        os.close(reading)


def _document(content: bytes) -> Mapping[str, Any]:
    try:
        found = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return {}
    return found if isinstance(found, dict) else {}
