"""What a command takes: a frozen record whose fields say how each of them is typed.

    class PruneBackups(Struct, frozen=True, kw_only=True):
        policy: Annotated[str | None, option("only the backups of this policy", metavar="NAME")] = None
        dry_run: Annotated[bool, option("show which rule keeps or drops each, and stop")] = False

A field is an option named after it; its type says what is typed: ``bool`` is a flag, a tuple may be repeated,
an enumeration lists its choices, one without a default is required. What several commands take together is a
record by itself, in a field of theirs. Nobody but this module and the parser knows argparse.
"""

from __future__ import annotations

import math
import time
from argparse import (
    SUPPRESS,
    Action,
    ArgumentError,
    ArgumentParser,
    ArgumentTypeError,
    Namespace,
    _ActionsContainer,
)
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from shlex import join
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

from msgspec import NODEFAULT, Struct
from msgspec.structs import FieldInfo, fields

from strongroom import times

if TYPE_CHECKING:
    from strongroom.cli.terminal.answer import Answer
    from strongroom.cli.terminal.output import Output

P = TypeVar("P", bound=Struct)
K = TypeVar("K", bound=type)

Work = Callable[[Any, "Output"], "Answer | None"]
"""What a command does with its parameters: it returns its answer, or gives it itself because it goes on
afterwards. It raises a :class:`~strongroom.errors.StrongroomError` for anything a person can put right, or
puts one into its answer; the exit code is that of the error."""

Run = str | Callable[[Any], str]
"""Which function does the work, as ``module:function`` within the room. Its module is imported only after the
parameters were read, so help and mistakes are answered at once. Where two ways of using one command need
different modules, it is a function that chooses by the parameters."""


class Word(NamedTuple):
    """What may stand behind a command, as ``add`` in ``backups hold add``: with parameters of its own."""

    summary: str
    parameters: type[Struct]
    run: Run


class Command(NamedTuple):
    """A command: what it takes, and which function does its work.

    Args:
        words: what may stand behind it; one of them has to, unless the command itself runs something.
    """

    parameters: type[Struct]
    run: Run = ""
    details: str = ""
    words: Mapping[str, Word] = {}


class Nothing(Struct, frozen=True, kw_only=True):
    """The parameters of a command that takes none."""


class UnreadableWord(ArgumentTypeError):
    """What was typed makes no sense there. The text says what would, and repeats no value."""


# -- How a field is typed -----------------------------------------------------------------------


class Typed(NamedTuple):
    """How one field is typed; see :func:`option`."""

    help: str
    names: tuple[str, ...]
    metavar: str | None
    read: Callable[[str], Any] | None
    choices: tuple[Any, ...]
    many: bool
    hidden: bool
    positional: bool


def option(
    help: str = "",  # noqa: A002 - as argparse calls it
    *,
    name: str | tuple[str, ...] = (),
    metavar: str | None = None,
    read: Callable[[str], Any] | None = None,
    choices: tuple[Any, ...] = (),
    many: bool = False,
    hidden: bool = False,
) -> Typed:
    """Say how an option is typed.

    Args:
        name: what is typed, where that is not the name of the field: ``--from``; or all its names.
        read: makes a value of a word, or raises :class:`UnreadableWord`; else the type of the field does.
        choices: what may be typed, if not every member of its enumeration.
        many: several words may follow it at once.
        hidden: it stays valid, and no help shows it.
    """
    names = (name,) if isinstance(name, str) else name
    return Typed(help, names, metavar, read, choices, many, hidden, positional=False)


def argument(
    help: str = "",  # noqa: A002
    *,
    metavar: str | None = None,
    read: Callable[[str], Any] | None = None,
    choices: tuple[Any, ...] = (),
) -> Typed:
    """Say how an argument is typed that stands by itself.

    With a default it may be left out. A tuple takes several words: one at least if it has no default.
    """
    return Typed(help, (), metavar, read, choices, many=False, hidden=False, positional=True)


class Group(NamedTuple):
    """What a nested record is in the help: a group with a title, or options of which one alone is given."""

    title: str = ""
    exclusive: bool = False
    required: bool = False

    def __call__(self, kind: K) -> K:
        kind.__group__ = self  # type: ignore[attr-defined]
        return kind


def group(title: str) -> Group:
    """Show the options of a record under a title.

    It stands above the record: ``@group("which secrets")``. At a field it goes before what stands there:
    ``Annotated[BackupSource, group("what to compare with")]``.
    """
    return Group(title)


def one_of(*, required: bool = False) -> Group:
    """Let a person give one option of a record, which this stands above as :func:`group` does."""
    return Group(exclusive=True, required=required)


# -- From records to a parser, and from what was parsed to a record -----------------------------


def declare(parser: _ActionsContainer, kind: type[Struct]) -> None:
    """Have a parser take what a record holds."""
    for field in fields(kind):
        shape = _shape(field)
        if isinstance(shape.how, Typed):
            _add(parser, field, shape)
        else:
            declare(_container(parser, shape.how), shape.kind)


def _container(parser: _ActionsContainer, how: Group | None) -> _ActionsContainer:
    """Return what the options of a nested record are added to; records with one title are one group."""
    if how is None:
        return parser
    if how.title:
        groups = (group for group in parser._action_groups if group.title == how.title)  # noqa: SLF001
        parser = next(groups, None) or parser.add_argument_group(how.title)
    return parser.add_mutually_exclusive_group(required=how.required) if how.exclusive else parser


def record_of(kind: type[P], parsed: Namespace) -> P:
    """Return what was typed as a record. Raises UnreadableWord if it contradicts itself."""
    return kind(**{field.name: _value(field, parsed) for field in fields(kind)})


def _value(field: FieldInfo, parsed: Namespace) -> Any:
    shape = _shape(field)
    if not isinstance(shape.how, Typed):
        return record_of(shape.kind, parsed)
    value = getattr(parsed, field.name, None)
    if value is None:
        return None if field.required else field.default
    return tuple(value) if shape.several else value


def by_name(given: Struct) -> dict[str, Any]:
    """Return what was typed by the names of all fields, those of nested records too."""
    values: dict[str, Any] = {}
    for name in given.__struct_fields__:
        value = getattr(given, name)
        values |= by_name(value) if isinstance(value, Struct) else {name: value}
    return values


class _Shape(NamedTuple):
    """What a field holds: one or several values of a kind, or another record."""

    kind: Any
    how: Typed | Group | None
    several: bool


def _shape(field: FieldInfo) -> _Shape:
    annotated, *notes = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
    kinds = get_args(annotated) if get_origin(annotated) in (Union, UnionType) else (annotated,)
    [kind] = [kind for kind in kinds if kind is not NoneType]
    several = get_origin(kind) is tuple
    if several:
        kind = get_args(kind)[0]
    own = getattr(kind, "__group__", None)
    how = next((note for note in notes if isinstance(note, Typed | Group)), own)
    if isinstance(how, Group) and own is not None:
        how = own._replace(title=how.title or own.title)
    return _Shape(kind, how, several)


def _add(parser: _ActionsContainer, field: FieldInfo, shape: _Shape) -> None:
    kind, how, several = shape
    assert isinstance(how, Typed)
    taken: dict[str, Any] = {"help": SUPPRESS if how.hidden else how.help}
    if kind is bool:
        taken["action"] = "store_true"
    else:
        choices = how.choices or (tuple(kind) if issubclass(kind, Enum) else None)
        taken |= {"metavar": how.metavar, "type": how.read or (None if kind is str else kind)}
        taken |= {"choices": choices} if choices else {}
        taken |= {"default": None if several else _default(field)}
    if how.positional:
        if several:
            taken["nargs"] = "+" if field.required else "*"
        elif not field.required:
            taken["nargs"] = "?"
        parser.add_argument(field.name, **taken)
        return
    if several:
        taken |= {"action": "extend", "nargs": "+"} if how.many else {"action": "append"}
    elif kind is not bool:
        taken["action"] = _Once
    names = how.names or (f"--{field.name.replace('_', '-')}",)
    parser.add_argument(*names, dest=field.name, required=field.required, **taken)


class _Once(Action):
    """Takes one value, and refuses another: the first would be dropped without a word. The same one again is
    none; the procedures' names stand for words that people may type with them."""

    def __call__(
        self,
        parser: ArgumentParser,  # noqa: ARG002 - as argparse calls it
        namespace: Namespace,
        values: Any,
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        given = vars(namespace).setdefault("_given", set())
        if self.dest in given and getattr(namespace, self.dest) != values:
            raise ArgumentError(self, "takes one value, and is given two")
        given.add(self.dest)
        setattr(namespace, self.dest, values)


def _default(field: FieldInfo) -> Any:
    return None if field.default is NODEFAULT else field.default


# -- From a record back to what is typed ---------------------------------------------------------


def command_line(command: str, given: Struct) -> str:
    """Return the command line that gives a command these parameters, on this machine from any folder."""
    return join(("strongroom", *command.split(), *words_of(given)))


def words_of(given: Struct) -> Iterator[str]:
    """Yield the words that are typed for a record: what is as by default is left out, and so is a pipe, which
    nobody can read again."""
    for field in fields(type(given)):
        value, shape = getattr(given, field.name), _shape(field)
        if not isinstance(shape.how, Typed):
            yield from words_of(value)
        elif field.required or value != field.default:
            values = [_written(each, shape.how) for each in (value if shape.several else (value,))]
            yield from _typed(field, shape, [word for word in values if not word.startswith("/dev/fd/")])


def _typed(field: FieldInfo, shape: _Shape, words: Sequence[str]) -> Iterator[str]:
    kind, how, _ = shape
    assert isinstance(how, Typed)
    name = how.names[0] if how.names else f"--{field.name.replace('_', '-')}"
    if kind is bool:
        yield name
    elif how.positional:
        yield from words
    elif how.many:
        yield from (name, *words)
    else:
        for word in words:
            yield from (f"{name}={word}",) if word.startswith("-") else (name, word)


def _written(value: Any, how: Typed) -> str:
    if isinstance(value, Path):
        return str(value.absolute())
    if how.read in (beginning, moment, ending):
        return times.rfc3339(value)
    return f"{value:g}s" if how.read is duration else str(value)


# -- What makes a value of a word: what makes no sense is refused, before anything is begun --------


MOST = 1_000_000
"""More lines than anybody reads, and fewer than a database's number holds."""


def rate(word: str) -> float:
    """Return how many a second; none at all would never end, and a negative one means nothing."""
    try:
        found = float(word)
    except ValueError:
        found = 0.0
    if not (found > 0 and math.isfinite(found)):
        raise UnreadableWord("is a number greater than 0")
    return found


def limit(word: str) -> int:
    """Return how many lines to list."""
    found = int(word) if word.isascii() and word.isdigit() and len(word) <= len(str(MOST)) else 0
    if not 1 <= found <= MOST:
        raise UnreadableWord(f"is a whole number from 1 to {MOST:,}")
    return found


def duration(word: str) -> float:
    """Return a length of time in seconds."""
    try:
        seconds = times.parse(word)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise UnreadableWord("is a time greater than 0 with its unit, such as 90s, 15m, 2h or 7d")
    return seconds


def beginning(text: str) -> float:
    """Parse a date, which means its beginning, or a time; without a zone they are UTC."""
    return _as_time(times.beginning, text)


def moment(text: str) -> float:
    """Parse a date, which means its end, or a time; without a zone they are UTC."""
    return _as_time(times.by_then, text)


def _as_time(parse: Callable[[str], float], text: str) -> float:
    try:
        return parse(text)
    except ValueError:
        raise UnreadableWord(f"'{text}' is no date or time, such as 2026-07-20 or 2026-07-20T18:00") from None


def version_number(text: str) -> int:
    """Parse the number of a secret's version."""
    if not text.isdecimal():
        raise ValueError
    return int(text)


def ending(text: str) -> float:
    """Parse when something ends: a date, which it lasts to the end of, a time, or so long from now."""
    try:
        return time.time() + times.parse(text)
    except ValueError:
        return moment(text)


def reason(text: str) -> str:
    """Return why something is done: an empty reason says nothing."""
    if not text.strip():
        raise UnreadableWord("a reason is needed: it goes on record")
    return text.strip()
