"""The work of a step: a function whose typed answer comes back from a process of its own.

The process is forked, so nothing has to start, and no key outlives the work that needs it. What the work asks
goes to the terminal as always. What it does can be typed too: that command is shown.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from shlex import join
from tempfile import TemporaryFile
from typing import IO, Any, Final, Generic, NoReturn, TypeVar

import msgspec
from msgspec import Raw, Struct

from strongroom.cli import parser
from strongroom.cli.errors import CommandCutShort
from strongroom.cli.shared import access_log
from strongroom.cli.table import command_of
from strongroom.cli.terminal import failures
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, clean, encode, paint
from strongroom.cli.terminal.prompts import somebody_there
from strongroom.cli.terminal.stopping import Terminated
from strongroom.errors import StrongroomError, by_name

A = TypeVar("A")
Work = Callable[[Namespace, Output], A]


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
        arguments: the options of this recovery, which such work opens with.
        passphrase: goes through a pipe to work that takes one: no file and no other process has it.
    """

    def __init__(self, arguments: Namespace, output: Output, *, passphrase: str) -> None:
        self._arguments, self._output, self._passphrase = arguments, output, passphrase

    def run(self, work: Work[A], answers: type[A], *, typed: Sequence[str] = ()) -> ForkedStepEnd[A]:
        """Do some work to its end.

        Args:
            answers: what the work returns.
            typed: the command that does the same, which is shown.
        """
        if typed:
            self._show(typed)
        return run_with(self._arguments, work, answers, self._output, passphrase=self._passphrase)

    def command(self, words: Sequence[str], work: Work[A], answers: type[A]) -> ForkedStepEnd[A]:
        """Do the work of a command, whose options it gets; show what could be typed for it."""
        self._show(words)
        parsed = parser.parse(*command_of(words))
        return run_with(
            parsed.given, work, answers, self._output, passphrase=self._passphrase, command=parsed.name
        )

    def _show(self, words: Sequence[str]) -> None:
        self._output.say(paint(clean(f"  $ {join(('strongroom', *words))}"), "2"))


def run_with(
    arguments: Namespace,
    work: Work[A],
    answers: type[A],
    output: Output,
    *,
    passphrase: str = "",
    command: str = "",
) -> ForkedStepEnd[A]:
    """Do some work to its end, with these options. Ctrl-C is for it too, and is raised here once it ended.

    Args:
        command: whose work it is, if not this command's own.
    """
    command = command or output.command
    sys.stdout.flush()
    with _handed_over() as file:
        if not (process := os.fork()):
            ours = _Unheard(quiet=output.quiet, command=command)
            _in_child(arguments, work, ours, file, passphrase)
        status = _wait(process)
        file.seek(0)
        return _ended(f"strongroom {command}", file.read(), answers, os.waitstatus_to_exitcode(status))


@contextmanager
def _handed_over() -> Iterator[IO[bytes]]:
    """Yield what the answer is written to: it has no name, and lies in memory where the system has that."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("answer"), "w+b") as held:
            yield held
    else:
        with TemporaryFile() as file:
            yield file


def _wait(process: int) -> int:
    """Wait for the end of a process; one that is asked to end has time to take back what it began."""
    try:
        return os.waitpid(process, 0)[1]
    except KeyboardInterrupt as stopped:
        if isinstance(stopped, Terminated) or not somebody_there():
            os.kill(process, signal.SIGTERM)  # Ctrl-C on a terminal came to it too; this did not
        with suppress(ChildProcessError):
            os.waitpid(process, 0)
        raise


def _ended(name: str, content: bytes, answers: type[A], code: int) -> ForkedStepEnd[A]:
    try:
        message = msgspec.json.decode(content, type=ForkedStepAnswer)
        answer = (
            None if bytes(message.answer) == b"null" else msgspec.json.decode(message.answer, type=answers)
        )
    except msgspec.DecodeError:
        return ForkedStepEnd(error=_cut_short(name, code))
    return ForkedStepEnd(answer=answer, error=_error(message.error))


def _cut_short(name: str, code: int) -> StrongroomError:
    """Say how work ended that could not say it itself: somebody killed it, or it has a fault."""
    how = f"signal {-code} killed it" if code < 0 else f"it ended with exit code {code}"
    return CommandCutShort(f"'{name}' said nothing of how far it came: {how}.")


def _error(told: ErrorInTransit | None) -> StrongroomError | None:
    if told is None:
        return None
    return (by_name(told.code) or CommandCutShort)(told.message, hint=told.hint)


# -- in the process that does it ----------------------------------------------------------


def _in_child(
    arguments: Namespace, work: Work[Any], output: Output, file: IO[bytes], passphrase: str
) -> NoReturn:
    code = failures.UNEXPECTED
    try:
        file.write(msgspec.json.encode(_done(arguments, work, output, passphrase)))
        file.flush()
        code = 0
    except KeyboardInterrupt:
        code = failures.INTERRUPTED
    except BaseException as error:  # noqa: BLE001 - whatever it is, a person gets words and no traceback
        failures.debug(error)
        code = failures.unexpected(error, output)
    finally:
        with suppress(Exception):
            sys.stderr.flush()
        os._exit(code)  # no exception, exit handler or buffer of the parent's may run here


class _Unheard(Output):
    """Says all in passing, and prints no answer: that is handed back."""

    def give(self, answer: Answer) -> None:
        pass


def _done(arguments: Namespace, work: Work[Any], output: Output, passphrase: str) -> ForkedStepAnswer:
    """Do the work; an error of ours is handed back, and told where it matters."""
    answer, error = None, None
    try:
        with _passphrase_file(passphrase) as file:
            if file is not None and hasattr(arguments, "passphrase_file"):
                arguments.passphrase_file = file
            answer = work(arguments, output)
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


PIPED: Final = r" --passphrase-file /dev/fd/[0-9]+"
"""The passphrase that was asked for once, in a command to type: nobody else can read it there."""
