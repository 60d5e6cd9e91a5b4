"""What a step does in a forked process: its answer and its error come back, whatever they are."""

from __future__ import annotations

import os
import signal

from msgspec import Struct

from strongroom.cli.commands.recovery.forked_step import Apart
from strongroom.cli.shared.options import OpeningOptions
from strongroom.cli.terminal.output import Output
from strongroom.container.errors import WrongKey

GIVEN = OpeningOptions()
APART = Apart(GIVEN, Output(quiet=True, command="recover"))


class Answer(Struct, frozen=True):
    """What a work returns."""

    name: str


def test_an_answer_comes_back_as_it_was_and_with_it_the_error_that_it_ended_with() -> None:
    def work(opening: OpeningOptions, output: Output) -> Answer:
        output.end_with(WrongKey("Nothing opens it.", hint="Bring a key."))
        return Answer("a \N{RIGHT-TO-LEFT OVERRIDE} name")

    ended = APART.run(work, Answer)
    assert ended.answer == Answer("a \N{RIGHT-TO-LEFT OVERRIDE} name")
    assert isinstance(ended.error, WrongKey)
    assert (ended.error.message, ended.error.hint) == ("Nothing opens it.", "Bring a key.")


def test_half_a_surrogate_pair_of_a_file_name_stops_nothing() -> None:
    ended = APART.run(lambda *_: Answer("odd\udcff"), Answer)
    assert (ended.answer, ended.code) == (Answer("odd\\udcff"), "")


def test_a_process_that_was_killed_is_told_as_that() -> None:
    def work(opening: OpeningOptions, output: Output) -> Answer:
        os.kill(os.getpid(), signal.SIGKILL)
        return Answer("never")

    error = APART.run(work, Answer, command="restore").failure("Type it again.")
    assert (error.code, error.hint.endswith("Type it again.")) == ("CommandCutShort", True)
    said = "'strongroom restore' said nothing of how far it came: signal 9 killed it."
    assert error.message == said


def test_a_passphrase_that_was_asked_for_once_is_handed_over_and_is_no_file() -> None:
    def work(opening: OpeningOptions, output: Output) -> str:
        assert opening.passphrase_file is not None
        return opening.passphrase_file.read_text()

    ended = Apart(GIVEN, Output(quiet=True), passphrase="CANARY-words").run(work, str)
    assert ended.answer == "CANARY-words"
    assert GIVEN.passphrase_file is None


def test_a_fault_in_the_work_is_no_fault_of_the_guide() -> None:
    def work(opening: OpeningOptions, output: Output) -> str:
        raise RuntimeError("CANARY")

    ended = APART.run(work, str)
    assert (ended.answer, ended.code) == (None, "CommandCutShort")


def test_a_process_ends_with_the_one_that_is_led_by_it() -> None:
    """It went on restoring, and the same command, typed again, did so beside it."""
    heard, told = os.pipe()
    gate, opens = os.pipe()

    def work(opening: OpeningOptions, output: Output) -> str:
        os.close(opens)
        os.write(told, b"!")
        os.read(gate, 1)
        os.write(told, b"?")
        return "it went on"

    if not (guide := os.fork()):
        try:
            APART.run(work, str)
        finally:
            os._exit(0)
    os.close(told)
    assert os.read(heard, 1) == b"!"
    os.kill(guide, signal.SIGKILL)
    os.waitpid(guide, 0)
    os.close(opens)
    assert os.read(heard, 1) == b""
    os.close(heard)
    os.close(gate)
