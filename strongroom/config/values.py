"""The kinds of value that settings are made of, and how each is read from what is written."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from strongroom import times
from strongroom.config.schema import noted
from strongroom.system.process import is_loopback

# -- The kinds of value that settings are made of -----------------------------------------------


_SIZE = re.compile(r"(?P<number>\d{1,18}) ?(?P<unit>|B|[KMGT]i?B)")
_UNITS: dict[str, int] = {"": 1, "B": 1} | {
    f"{letter}{binary}B": base**power
    for power, letter in enumerate("KMGT", start=1)
    for binary, base in (("", 1000), ("i", 1024))
}


class InvalidValue(Exception):
    """What is written is nothing that its setting takes.

    Args:
        what: what is wrong; never the value.
        right: what would be right.
        example: whether the setting's own example is to follow.
    """

    def __init__(self, what: str, right: str, *, example: bool = True) -> None:
        super().__init__(what)
        self.what = what
        self.right = right
        self.example = example


class TextForm(Struct, frozen=True):
    """In an annotation: reads a text that stands in place of the value, and says what may be written."""

    by: Callable[[str], int]
    words: str


class FormCheck(Struct, frozen=True):
    """In an annotation: what refuses a text of the right form."""

    by: Callable[[str], None]


def bad_format() -> InvalidValue:
    """Return what is said of a text that is not written as such texts are."""
    return InvalidValue("not of the right form", "Write it")


def parse_size(text: str) -> int:
    """Return the bytes that a text such as ``"32MiB"`` or ``"2 GB"`` means."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise bad_format()
    return int(match["number"]) * _UNITS[match["unit"]]


def parse_duration(text: str) -> int:
    """Return the seconds that a text such as ``"48h"``, ``"30 min"`` or ``"2d"`` means."""
    try:
        return int(times.parse(text))
    except ValueError:
        raise bad_format() from None


def is_text(text: str) -> bool:
    """Say whether it can be written in UTF-8, which what stands for other bytes cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def absolute(text: str, base: Path) -> Path:
    """Expand ``~`` and anchor a relative path at ``base``, the configuration file's directory."""
    if "\0" in text:  # no path has one
        raise bad_format()
    try:
        path = base / Path(text).expanduser()
    except RuntimeError:  # whose home is not known
        raise bad_format() from None
    if not is_text(str(path)):  # by its beginning: what is written has been read as text
        raise InvalidValue(
            "leads through a directory whose name is not a text in UTF-8", "Write it from '/' on"
        )
    return path


def private(url: str) -> None:
    """Refuse the address of another host without TLS: tokens and values go there."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # is read only now, and others rely on its being a number
    except ValueError:
        raise bad_format() from None
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        right = "An https:// address; http:// only for a server on this host."
        raise InvalidValue("reached without TLS", right, example=False)


AbsolutePath: TypeAlias = Path
Size = Annotated[int, TextForm(parse_size, 'bytes, or text such as "32MiB"')]
Duration = Annotated[int, TextForm(parse_duration, 'seconds, or text such as "48h"')]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Fingerprint = Annotated[str, Meta(pattern=r"^sr1:[0-9a-f]{64}$")]
PublicKey = Annotated[str, Meta(pattern=r"^srpub1:[A-Za-z0-9_-]+:[A-Za-z0-9_-]+$")]
Text = Annotated[str, Meta(min_length=1)]
MAIL_ADDRESS = (
    r"^(?=.{3,254}$)[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_{|}~-]+)*"
    r"@[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*$"
)
"""A plain address, as it is written into an envelope and a header: no space, comma, quote or line feed."""
MailAddress = Annotated[str, Meta(pattern=MAIL_ADDRESS)]
Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$|^[0-9A-Fa-f:.]+$")]
Url = Annotated[str, Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$"), FormCheck(private)]


# -- From one value as written to what its setting holds; each reader refuses all that it does not take


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


def is_readable(kind: Any) -> bool:
    """Say whether :func:`read_value` takes values for settings of a type."""
    plain = kind is Path or kind in _READERS or get_origin(kind) is Literal
    return plain or (isinstance(kind, type) and issubclass(kind, Enum))


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
