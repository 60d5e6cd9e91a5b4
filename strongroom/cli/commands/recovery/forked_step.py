"""The work of a step: a function whose typed answer comes back from a process of its own.

The process is forked, so nothing has to start, and no key outlives the work that needs it. What the work asks
goes to the terminal as always. What it does can be typed too: that command is shown.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from strongroom.cli.errors import CommandCutShort
from strongroom.cli.shared import access_log
from strongroom.cli.shared.options import OpeningOptions
from strongroom.cli.terminal import failures
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, clean, encode, paint
from strongroom.errors import StrongroomError, by_name
from strongroom.system.process import INTERRUPTING, die_with_parent, uninterrupted

A = TypeVar("A")
Work = Callable[[OpeningOptions, Output], A]
"""Work is given what opens."""


class ForkedStepEnd(Struct, Generic[A], frozen=True, kw_only=True):
    """Work that has ended: what it found, and the error that it ended with. One may come with the other."""

    answer: A | None = None
    error: StrongroomError | None = None

    @property
    def code(self) -> str:
        return self.error.code if self.error is not None else ""

    def failure(self, hint: str) -> StrongroomError:
        """Return the error that it ended with; ``hint`` goes on from what the error says to do."""
        error = self.error
        assert error is not None
        return type(error)(error.message, hint=" ".join(filter(None, (error.hint, hint))))


class ErrorInTransit(Struct, frozen=True, kw_only=True):
    """An error on its way from one process to another."""

    code: str
    message: str
    hint: str


class ForkedStepAnswer(Struct, frozen=True, kw_only=True):
    """What a process hands back: an answer in JSON (``null``: none), and the error that it ended with."""

    answer: Raw
    error: ErrorInTransit | None


class Apart:
    """Does work in processes of its own.

    Args:
        opening: what opens, as it was given for this recovery.
        passphrase: goes through a pipe to work that takes one: no file and no other process has it.
    """

    def __init__(self, opening: OpeningOptions, output: Output, *, passphrase: str = "") -> None:
        self._opening, self._output, self._passphrase = opening, output, passphrase

    def run(self, work: Work[A], answers: type[A], *, typed: str = "", command: str = "") -> ForkedStepEnd[A]:
        """Do some work to its end. Ctrl-C is for it too, and is raised here once it ended.

        Args:
            answers: what the work returns.
            typed: the command line that does the same, which is shown.
            command: whose work it is, if not this command's own.
        """
        if typed:
            self._output.say(paint(clean(f"  $ {typed}"), "2"))
        command = command or self._output.command
        sys.stdout.flush()
        with _handed_over() as file:
            status = self._forked(work, file, command)
            file.seek(0)
            return _ended(f"strongroom {command}", file.read(), answers, os.waitstatus_to_exitcode(status))

    def _forked(self, work: Work[Any], file: IO[bytes], command: str) -> int:
        """Do the work in a process, and return how that ended; one that is interrupted takes back what it
        began."""
        process, parent = 0, os.getpid()
        try:
            with uninterrupted():  # or a child might be left, or unwind what its parent began
                if not (process := os.fork()):
                    self._in_child(work, file, command, parent)
            return os.waitpid(process, 0)[1]
        except KeyboardInterrupt:
            if process:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)  # Ctrl-C came to it too, unless it was forked after that
                with suppress(ChildProcessError):
                    os.waitpid(process, 0)
            raise

    def _in_child(self, work: Work[Any], file: IO[bytes], command: str, parent: int) -> NoReturn:
        code = failures.UNEXPECTED
        try:
            die_with_parent(parent)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTING)
            output = _Unheard(quiet=self._output.quiet, command=command)
            file.write(msgspec.json.encode(self._done(work, output)))
            file.flush()
            code = 0
        except KeyboardInterrupt:
            code = failures.INTERRUPTED
        except BaseException as error:  # noqa: BLE001 - whatever it is, a person gets words and no traceback
            failures.debug(error)
            code = failures.unexpected(error, self._output)
        finally:
            with suppress(Exception):
                sys.stderr.flush()
            os._exit(code)  # no exception, exit handler or buffer of the parent's may run here

    def _done(self, work: Work[Any], output: Output) -> ForkedStepAnswer:
        """Do the work; an error of ours is handed back, and told where it matters."""
        answer, error = None, None
        try:
            with _passphrase_file(self._passphrase) as file:
                opening = replace(self._opening, passphrase_file=file) if file else self._opening
                answer = work(opening, output)
            error = output.ending
        except StrongroomError as failed:
            error = failed
        except OSError as failed:
            error = failures.from_os(failed)
        access_log.record_outcomes(error)
        told = None
        if error is not None:
            told = ErrorInTransit(code=error.code, message=error.message, hint=error.hint)
        return ForkedStepAnswer(answer=Raw(encode(answer)), error=told)


class _Unheard(Output):
    """Says all in passing, and prints no answer: that is handed back."""

    def give(self, answer: Answer) -> None:
        pass


@contextmanager
def _handed_over() -> Iterator[IO[bytes]]:
    """Yield what the answer is written to: it has no name, and lies in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("answer"), "w+b") as held:
            yield held
    else:
        with TemporaryFile() as file:
            yield file


def _ended(name: str, content: bytes, answers: type[A], code: int) -> ForkedStepEnd[A]:
    try:
        message = msgspec.json.decode(content, type=ForkedStepAnswer)
        answer = (
            None if bytes(message.answer) == b"null" else msgspec.json.decode(message.answer, type=answers)
        )
    except msgspec.DecodeError:  # somebody killed it, or it has a fault
        how = f"signal {-code} killed it" if code < 0 else f"it ended with exit code {code}"
        said = f"'{name}' said nothing of how far it came: {how}."
        return ForkedStepEnd(error=CommandCutShort(said))
    error = None
    if (told := message.error) is not None:
        error = (by_name(told.code) or CommandCutShort)(told.message, hint=told.hint)
    return ForkedStepEnd(answer=answer, error=error)


@contextmanager
def _passphrase_file(secret: str) -> Iterator[Path | None]:
    """Yield a pipe that holds a secret, as a file to read once."""
    if not secret:
        yield None
        return
    reading, writing = os.pipe()
    try:
        os.write(writing, secret.encode())
        os.close(writing)
        yield Path(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
