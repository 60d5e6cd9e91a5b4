"""Questions to whoever recovers: answered beforehand, or on a terminal, or by the answer that is safe."""

from __future__ import annotations

import sys
import tomllib
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from strongroom.cli.terminal import prompts
from strongroom.cli.terminal.failures import block_of
from strongroom.cli.terminal.output import Output, clean, paint
from strongroom.errors import StrongroomError, UsageError
from strongroom.operations.errors import ConfirmationRequired
from strongroom.operations.procedure import AfterFailure
from strongroom.words import nearest

NONE = "none"
NAMES = ("lost", "leaked", "missing", "overwrite", "restore", "quarantine", "rotate")
PREFIXES = ("into.", "from.", "failed.")
"""The questions, by their names; after a prefix comes a source, or a step."""


class Dialogue:
    """Asks, and says what was answered. ``goes_on`` is the command that goes on from here."""

    def __init__(self, answers: Mapping[str, str], output: Output) -> None:
        self._answers = dict(answers)
        self._output = output
        self._failed: dict[str, tuple[str, str]] = {}
        self.goes_on = "strongroom recover"

    def has(self, name: str) -> bool:
        """Tell whether a question was answered beforehand, and that answer was not used yet."""
        return name in self._answers

    def confirm(self, name: str, question: str) -> bool:
        """Ask for a yes; the safe answer is no.

        Raises:
            ConfirmationRequired: there is nobody to ask, and no answer was given.
        """
        said = self._ask(name, f"{question} [y/N] ", "" if prompts.somebody_there() else None, _as_yes_or_no)
        return said == "yes"

    def choose(
        self, name: str, question: str, known: Sequence[str], default: Sequence[str]
    ) -> tuple[str, ...]:
        """Ask for some of what is known, or none; Enter takes the default."""
        shown = ", ".join(default) or NONE
        said = self._ask(name, f"{question} [{shown}] ", shown, lambda word: _as_names(word, known))
        return () if said == NONE else tuple(said.split(", "))

    def one(self, name: str, question: str, known: Sequence[str], default: str) -> str:
        """Ask for one of what is known; Enter takes the default."""
        return self._ask(name, f"{question} [{default}] ", default, lambda word: _as_one(word, known))

    def text(self, name: str, question: str, default: str | None) -> str:
        """Ask for a few words; Enter takes the default."""
        return self._ask(name, question, default, str.strip)

    def after_failure(
        self, name: str, error: StrongroomError, call: Callable[..., None], *, may_skip: bool, goes_on: bool
    ) -> AfterFailure:
        """Ask what is done about a step that failed; raise the error to stop.

        Enter tries again, once: what fails in the same way again will do so for ever. Then Enter leads out.

        Args:
            call: says whom to call.
            goes_on: whether what follows can do without, so that Enter leads on; else it stops.
        """
        if not prompts.somebody_there() and not self.has(f"failed.{name}"):
            call("primary", "escalation")
            raise self._stopped(error)
        self._output.say("\n".join(["", f"  Not done yet: {error.code}", "", *block_of(error), ""]))
        call("primary", "escalation")
        same = (error.code, error.message)
        twice, self._failed[name] = self._failed.get(name) == same, same
        default = "again" if not twice else f"skip {_TWICE}" if may_skip and goes_on else "stop"
        while True:
            question = _question(default, may_skip=may_skip)
            word, _, reason = self.text(f"failed.{name}", question, default).partition(" ")
            if word == "again":
                return AfterFailure(again=True)
            if word == "stop":
                raise self._stopped(error)
            if word == "skip" and reason.strip() and may_skip:
                return AfterFailure(reason=reason.strip()[:500])
            skip = "  Type again, stop, or skip with a reason behind it, such as: skip it is test data"
            self._output.say(clean(skip))

    def _stopped(self, error: StrongroomError) -> StrongroomError:
        """Return what a recovery that stops here ends with: what stops it, and how it goes on."""
        error.hint = f"{error.hint} What was done stays. This goes on: {self.goes_on}".strip()
        return error

    def _ask(self, name: str, question: str, default: str | None, read: Callable[[str], str]) -> str:
        if (given := self._answers.pop(name, None)) is not None:  # once: what failed is not answered for ever
            answer = read(given)
            self._output.note(f"{question.strip()} {answer}  (given)")
            return answer
        if not prompts.somebody_there():
            return self._unattended(name, question, default)
        while True:
            typed = self._typed(question)
            if not typed:
                return read(default or "")
            try:
                return read(typed)
            except UsageError as error:
                self._output.say(clean(f"  {error.message} {error.hint}"))

    def _typed(self, question: str) -> str:
        print(paint(clean(question), "1"), end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise ConfirmationRequired("The terminal was closed.", hint=f"This goes on: {self.goes_on}")
        return line.strip()

    def _unattended(self, name: str, question: str, default: str | None) -> str:
        if default is None:
            raise ConfirmationRequired(
                f"This needs an answer, and there is no terminal to ask on: {question.strip()}",
                hint=f"This goes on: {self.goes_on} --answer {name}=ANSWER",
            )
        self._output.note(f"{question.strip()} {default}  (nobody to ask)")
        return default


_TWICE = "it failed twice in the same way"


def _question(default: str, *, may_skip: bool) -> str:
    if default == "again":
        more = "type stop, or skip and your reason, which goes on record" if may_skip else "type stop"
        return f"  Enter tries again. Or {more}: "
    way = "stops here: what was done stays" if default == "stop" else "goes on without it: it is left to do"
    more = "again, stop, or skip and your reason" if may_skip else "again or stop"
    return f"  It failed in the same way again. Enter {way}. Or type {more}: "


def _as_yes_or_no(word: str) -> str:
    known = {"": "no", "n": "no", "no": "no", "y": "yes", "yes": "yes"}
    if word.lower() not in known:
        raise UsageError("Please type y for yes, or n for no.", hint="Enter means no.")
    return known[word.lower()]


def _as_names(word: str, known: Sequence[str]) -> str:
    names = word.replace(",", " ").split()
    if names == [NONE]:
        return NONE
    for name in names:
        _as_one(name, known)
    return ", ".join(dict.fromkeys(names))


def _as_one(word: str, known: Sequence[str]) -> str:
    if word not in known:
        raise UsageError(f"There is no '{word}' here.", hint=nearest(word, known))
    return word


def answers_of(arguments: Namespace) -> dict[str, str]:
    """Return the answers of the file, and over them those of the command line.

    Raises:
        UsageError: one is no NAME=VALUE, or the file is no TOML of texts.
    """
    found = _in_file(arguments.answers) if arguments.answers is not None else {}
    for word in arguments.answer:
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise UsageError("--answer needs NAME=VALUE.", hint="For example --answer leaked=none")
        found[name] = value
    for name in found:
        if name not in NAMES and not name.startswith(PREFIXES):
            raise UsageError(f"No question is called '{name}'.", hint=nearest(name, (*NAMES, *PREFIXES)))
    return found


def _in_file(path: Path) -> dict[str, str]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The answers in '{path}' cannot be read ({type(error).__name__}).") from None
    flat = dict(_flat("", found))
    if wrong := [name for name, value in flat.items() if not isinstance(value, str)]:
        raise UsageError(f"The answer '{wrong[0]}' is no text.", hint='Write it in quotes: "yes".')
    return {name: str(value) for name, value in flat.items()}


def _flat(prefix: str, table: Mapping[str, object]) -> list[tuple[str, object]]:
    """Return a table's values by their whole names: a table ``into`` answers ``into.NAME``."""
    found: list[tuple[str, object]] = []
    for name, value in table.items():
        whole = f"{prefix}{name}"
        found += _flat(f"{whole}.", value) if isinstance(value, dict) else [(whole, value)]
    return found
