"""From one value as written to what its setting holds; each reader refuses all that it does not take."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from strongroom.config.fields import FormCheck, InvalidValue, TextForm, absolute, bad_format
from strongroom.config.schema import noted

LARGEST = 2**63 - 1  # what the databases, and whoever else is told of a number, can hold

Marks = tuple[Any, ...]


def read_value(kind: Any, marks: Marks, value: Any, *, base: Path) -> Any:
    """Return what a value means to a setting.

    Args:
        kind: the setting's type, neither a list nor a table.
        marks: what the type is annotated with.
        base: where a relative path begins.

    Raises:
        InvalidValue: it does not take this value.
    """
    if get_origin(kind) is Literal:
        return _word(get_args(kind), value)
    if issubclass(kind, Enum):
        return kind(_word([each.value for each in kind], value))
    if kind is Path:
        return absolute(_text(value, marks), base)
    return _READERS[kind](value, marks)


def wrong_type(wanted: str) -> InvalidValue:
    """Return what is said of a value that is of another type than it is to be."""
    return InvalidValue("wrong type", f"It must be {wanted}")


def _word(words: Sequence[str], value: Any) -> str:
    if value not in words:
        *others, last = words
        right = f"{', '.join(others)} or {last}"
        raise InvalidValue("none of the known words", f"One of: {right}.", example=False)
    return str(value)


def _text(value: Any, marks: Marks) -> str:
    if not isinstance(value, str):
        raise wrong_type("text in quotes")
    if len(value) < (noted(marks, "min_length") or 0):
        raise InvalidValue("empty", "It must be text that is not empty")
    pattern = noted(marks, "pattern")
    if pattern and not re.fullmatch(pattern, value):
        raise bad_format()
    for mark in marks:
        if isinstance(mark, FormCheck):
            mark.by(value)
    return value


def _whole(value: Any, marks: Marks) -> int:
    for mark in marks:
        if isinstance(mark, TextForm) and isinstance(value, str):
            value = mark.by(value)
    if type(value) is not int:  # True is one by its class, and no number here
        raise wrong_type("a whole number, without quotes")
    least, most = noted(marks, "ge"), noted(marks, "le")
    if least is not None and value < least:
        raise InvalidValue("too small", f"At least {least:,}.", example=False)
    if value > (most := LARGEST if most is None else most):
        raise InvalidValue("too large", f"At most {most:,}.", example=False)
    return value


def _number(value: Any, marks: Marks) -> float:
    if type(value) not in (int, float):
        raise wrong_type("a number, without quotes")
    above = noted(marks, "gt")
    if above is not None and not value > above:  # so that it refuses what is no number (nan) too
        raise InvalidValue("too small", f"More than {above:,}.", example=False)
    try:
        return float(value)
    except OverflowError:
        raise bad_format() from None


def _truth(value: Any, _: Marks) -> bool:
    if not isinstance(value, bool):
        raise wrong_type("true or false, without quotes")
    return value


_READERS: dict[Any, Callable[[Any, Marks], Any]] = {
    str: _text,
    int: _whole,
    float: _number,
    bool: _truth,
}
