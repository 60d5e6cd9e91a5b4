"""What a step does in a forked process: its answer and its error come back, whatever they are."""

from __future__ import annotations

import os
import signal
from argparse import Namespace

from msgspec import Struct

from strongroom.cli.commands.recovery.forked_step import run_with
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import WrongKey

GIVEN = Namespace(passphrase_file=None)


class Answer(Struct, frozen=True):
    """What a work returns."""

    name: str


def test_an_answer_comes_back_as_it_was_and_with_it_the_error_that_it_ended_with() -> None:
    def work(arguments: Namespace, output: Output) -> Answer:
        output.end_with(WrongKey("Nothing opens it.", hint="Bring a key."))
        return Answer("a \N{RIGHT-TO-LEFT OVERRIDE} name")

    ended = run_with(GIVEN, work, Answer, Output(quiet=True))
    assert ended.answer == Answer("a \N{RIGHT-TO-LEFT OVERRIDE} name")
    assert isinstance(ended.error, WrongKey)
    assert (ended.error.message, ended.error.hint) == ("Nothing opens it.", "Bring a key.")


def test_half_a_surrogate_pair_of_a_file_name_stops_nothing() -> None:
    ended = run_with(GIVEN, lambda *_: Answer("odd\udcff"), Answer, Output(quiet=True))
    assert (ended.answer, ended.code) == (Answer("odd\\udcff"), "")


def test_a_process_that_was_killed_is_told_as_that() -> None:
    def work(arguments: Namespace, output: Output) -> Answer:
        os.kill(os.getpid(), signal.SIGKILL)
        return Answer("never")

    error = run_with(GIVEN, work, Answer, Output(quiet=True, command="restore")).failure("Type it again.")
    assert (error.code, error.hint.endswith("Type it again.")) == ("CommandCutShort", True)
    said = "'strongroom restore' said nothing of how far it came: signal 9 killed it."
    assert error.message == said


def test_a_passphrase_that_was_asked_for_once_is_handed_over_and_is_no_file() -> None:
    def work(arguments: Namespace, output: Output) -> str:
        found: str = arguments.passphrase_file.read_text()
        return found

    ended = run_with(GIVEN, work, str, Output(quiet=True), passphrase="CANARY-words")
    assert ended.answer == "CANARY-words"
    assert GIVEN.passphrase_file is None


def test_a_fault_in_the_work_is_no_fault_of_the_guide() -> None:
    def work(arguments: Namespace, output: Output) -> str:
        raise RuntimeError("CANARY")

    ended = run_with(GIVEN, work, str, Output(quiet=True))
    assert (ended.answer, ended.code) == (None, "CommandCutShort")
