"""The sections as they can be described: which keys each has, what they take, and the page that says so."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from msgspec import Meta, Struct
from msgspec.structs import fields

from strongroom import words
from strongroom.errors import ConfigError
from strongroom.words import nearest, plural

# -- What every section of the settings is built on ---------------------------------------------
#
# Where sections are defined there is no ``from __future__ import annotations``: the annotations
# say what is read and what it means, and as text they would have to be compiled at each start,
# which takes ten times as long as to make them.


KIB = 1024
MIB = 1024 * KIB


class SettingsSection(Struct, frozen=True, kw_only=True):
    """One table of ``strongroom.toml``: frozen, and no key beside those that are described.

    ``REPLACED`` has the keys that older versions knew, each with what to write now. ``SECRET_FILES`` are the
    keys that name a file which only its owner may read.
    """

    REPLACED: ClassVar[Mapping[str, str]] = {}
    SECRET_FILES: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def choices(cls) -> tuple[type[SettingsSection], ...]:
        """Return the records that a table may be read as: this one, or those of the family that it is of."""
        return (cls,)

    def secret_files(self) -> dict[str, Path]:
        """Return each file that holds a secret, by the key that names it."""
        files = {key: getattr(self, key) for key in self.SECRET_FILES}
        return {key: path for key, path in files.items() if path is not None}


# -- What can be wrong with a configuration, said so that a person can put it right -------------


KeyPath = tuple[str | int, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


class ConfigProblem(Struct, frozen=True, kw_only=True):
    """One thing to put right.

    Args:
        where: the file, or the environment variable.
        line: of the file, on which the key stands, or the table that it is missing in.
        key: the setting, e.g. ``policies.weekly.targets[1]``; empty if it is the file.
        what: what is wrong. It repeats names at most, never a value: somebody may have
            written a passphrase into the wrong place.
        right: what would be right.
    """

    where: str
    key: str
    what: str
    right: str
    line: int | None = None

    def __str__(self) -> str:
        return ": ".join(part for part in (self.place, self.key, self.what) if part) + f". {self.right}"

    @property
    def place(self) -> str:
        """The file and the line, as editors and terminals open it."""
        return self.where if self.line is None else f"{self.where}:{self.line}"


class ConfigProblems(ConfigError):
    """The configuration is wrong; nothing was read or written.

    ``problems`` has every single thing that is wrong.
    """

    default_hint = "Put all of it right, then run 'strongroom check config'."

    def __init__(
        self, message: str, *, hint: str | None = None, problems: Sequence[ConfigProblem] = ()
    ) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[ConfigProblem]) -> ConfigProblems:
        """Return the error that names each problem."""
        first = f"The configuration has {plural(len(problems), 'problem')}:"
        return cls("\n  ".join([first, *map(str, problems)]), problems=problems)


def dotted(path: KeyPath) -> str:
    """Write a path as in TOML: ``policies.weekly.targets[1]``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _BARE.fullmatch(part) else f'"{part}"')
    return text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Name the closest of the known words, else all of them."""
    known = sorted(known)
    return words.did_you_mean(word, known).strip() or nearest(word, known)


# -- Looking into the sections: which keys each has, what they take, and what is said of them ---


_DEEPEST = 100  # settings go down five


class Field(Struct, frozen=True, kw_only=True):
    """One key of a section. ``kind`` is its type without ``marks``, what is annotated, and ``None``.
    ``name`` is how it is written in the file, ``attribute`` in the code."""

    name: str
    attribute: str
    annotation: Any
    kind: Any
    marks: tuple[Any, ...]
    required: bool
    default: Any

    @property
    def description(self) -> str:
        """What the key means."""
        return noted(self.marks, "description") or ""

    @property
    def examples(self) -> list[Any]:
        """Values that it takes: of a key that takes one word alone, that word."""
        only = get_args(self.kind) if get_origin(self.kind) is Literal else ()
        return noted(self.marks, "examples") or list(only if len(only) == 1 else ())


@cache
def fields_of(model: type[SettingsSection]) -> Mapping[str, Field]:
    """Return a section's keys in their order."""
    described = {}
    for each in fields(model):
        kind, marks = stripped(each.type)
        described[each.encode_name] = Field(
            name=each.encode_name,
            attribute=each.name,
            annotation=each.type,
            kind=kind,
            marks=marks,
            required=each.required,
            default=each.default,
        )
    return described


def stripped(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Part a type from what it is annotated with, the outermost first, and from an optional ``None``."""
    marks: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            marks += tuple(more)
        elif len(kept := _choices(annotation)) == 1 and kept[0] is not annotation:
            (annotation,) = kept
        else:
            return annotation, marks


def noted(marks: tuple[Any, ...], what: str) -> Any:
    """Return the outermost of what the annotations say, such as ``ge``, if one does."""
    values = (getattr(mark, what) for mark in marks if isinstance(mark, Meta))
    return next((each for each in values if each is not None), None)


def _choices(annotation: Any) -> tuple[Any, ...]:
    if get_origin(annotation) not in (Union, types.UnionType):
        return (annotation,)
    return tuple(each for each in get_args(annotation) if each is not types.NoneType)


def models_of(annotation: Any) -> tuple[type[SettingsSection], ...]:
    """Return the sections that a key, or the entries of a table of tables, may be."""
    if is_table(annotation):
        annotation = get_args(annotation)[1]
    return tuple(
        record
        for each in _choices(annotation)
        if isinstance(each, type) and issubclass(each, SettingsSection)
        for record in each.choices()
    )


def kind_of(model: type[SettingsSection]) -> str | None:
    """Return the one ``kind`` that is read as this section, if it goes by kind."""
    field = fields_of(model).get("kind")
    kinds = get_args(field.kind) if field else ()
    return kinds[0] if len(kinds) == 1 else None


def is_table(kind: Any) -> bool:
    """Say whether a type is a table of named entries."""
    return get_origin(kind) is dict


def look_up(raw: Any, path: KeyPath) -> Any:
    """Return what stands at ``path``, or ``None``."""
    for part in path:
        try:
            raw = raw[part]
        except (LookupError, TypeError):
            return None
    return raw


def is_deep(raw: Any) -> bool:
    """Say whether tables and lists are nested deeper than any reading of settings may go."""
    level = [raw]
    for _ in range(_DEEPEST):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


def toml_value(value: Any) -> str:
    """Write a value as in TOML."""
    if isinstance(value, Mapping):
        inside = ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return json.dumps(value, ensure_ascii=False)
