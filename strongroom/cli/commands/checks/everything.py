"""check all: every look, one after the other, told as one answer with one verdict and one exit code."""

from __future__ import annotations

from typing import Final

from strongroom.cli import parser
from strongroom.cli.parameters import Nothing
from strongroom.cli.table import command_of
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output
from strongroom.errors import StrongroomError
from strongroom.sheet import Cell, Lines, Mood, Part, Sheet, Table
from strongroom.words import plural

LOOKS: Final = {
    "": "the installation as it stands, and each target whether it answers",
    "config": "the configuration",
    "machine": "whether this machine could recover now",
    "keys": "every key by itself, and on a backup of each class",
    "rights": "each right that is needed, and those that are too many",
    "storage": "each target, with a write, a read and what it has to refuse",
    "backups": "every byte of the newest backups, on all targets",
    "secrets --production": "the live secrets, compared with the backup that a restore would use",
    "controls": "what frameworks demand",
}
"""Each look, by what stands behind ``check``: those that find out why others fail come first."""


def check_all(given: Nothing, output: Output) -> Answer:
    told = {words: _look(words.split(), output) for words in LOOKS}
    bad = [answer.error for answer in told.values() if answer.error is not None]
    verdict = "Every look found all well."
    if bad:
        verdict = f"Not well: {len(bad)} of {plural(len(told), 'look')}; exit code {bad[0].exit_code}."
    rows = [_row(words, answer) for words, answer in told.items()]
    parts: list[Part] = [Table(("look", "result", "what is checked"), rows)]
    parts += [_wrong(words, answer.error) for words, answer in told.items() if answer.error is not None]
    return Answer(
        record={
            "looks": {
                words.partition(" ")[0] or "installation": answer.record for words, answer in told.items()
            }
        },
        sheet=Sheet(verdict=verdict, mood=Mood.BAD if bad else Mood.GOOD, parts=parts),
        warnings=tuple(warning for answer in told.values() for warning in answer.warnings),
        notes=tuple(note for answer in told.values() for note in answer.notes),
        error=bad[0] if bad else None,
    )


def _look(words: list[str], output: Output) -> Answer:
    """Return what one look says; what keeps it from looking is its answer too."""
    name, options = command_of(["check", *words])
    parsed = parser.parse(name, options)
    output.command = name
    try:
        answer = parser.load_work(parsed)(parsed.given, output)
    except StrongroomError as error:
        said = [error.message, *([error.hint] if error.hint else [])]
        return Answer(record={"error": error.code}, sheet=Sheet(parts=[Lines(said)]), error=error)
    assert answer is not None  # each look answers, and goes on with nothing
    return answer


def _row(words: str, answer: Answer) -> tuple[object, ...]:
    result = Cell("well", Mood.GOOD) if answer.error is None else Cell(answer.error.code, Mood.BAD)
    return f"check {words}".rstrip(), result, LOOKS[words]


def _wrong(words: str, error: StrongroomError) -> Lines:
    """Say what is worst in a look; the look by itself says all of it."""
    to_do = [f"What to do: {error.hint}"] if error.hint else []
    return Lines([error.message, *to_do], heading=f"strongroom check {words}".rstrip())
