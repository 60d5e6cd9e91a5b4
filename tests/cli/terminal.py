"""A person at a terminal: waits for a question, types an answer, reads what is said."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from contextlib import suppress
from typing import Self

from tests.cli.program import Machine, command
from tests.patience import PATIENCE

_MARKS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command line on a terminal of its own, as a person sees it."""

    def __init__(
        self, machine: Machine, *words: str, size: tuple[int, int] = (0, 0), colour: bool = False
    ) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        objects = {} if colour else {"NO_COLOR": "1"}
        self.process = subprocess.Popen(
            command(*words),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - one thread
            cwd=machine.home,
            env=machine.env | {"TERM": "xterm", "COLUMNS": str(size[1] or 110)} | objects,
        )
        os.close(theirs)
        self._written = b""
        self._answered = 0

    @property
    def drawn(self) -> str:
        """All that was written, with what moves the cursor."""
        return self._written.decode(errors="replace")

    @property
    def said(self) -> str:
        """The words of it. Of all of it: a letter, or a mark, may be read in two parts."""
        return _MARKS.sub("", self.drawn).replace("\r\n", "\n")

    def answer(self, question: str, answer: str) -> None:
        """Wait until something is asked, and type a line."""
        self.await_words(question)
        self.type(f"{answer}\n")

    def await_words(self, words: str) -> None:
        """Wait until something is said that was not said before the last answer."""
        until = time.monotonic() + PATIENCE
        while words not in self.said[self._answered :]:
            if not self._read(until):
                raise AssertionError(f"'{words}' was not said:\n{self.said}")
        self._answered = self.said.index(words, self._answered) + len(words)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def end(self) -> int:
        """Wait until it has ended; return its exit code."""
        until = time.monotonic() + PATIENCE
        while self._read(until):
            pass
        return self.process.wait(PATIENCE)

    def _read(self, until: float) -> bool:
        """Read what is said next; tell whether anything was."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, until - time.monotonic()))
        try:
            found = os.read(self._ours, 65_536) if ready else b""
        except OSError:  # the other end is closed
            found = b""
        self._written += found
        return bool(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._ours)
