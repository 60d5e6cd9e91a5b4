"""The kinds of value that settings are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from msgspec import Meta, Struct

from strongroom import durations
from strongroom.system.host import is_loopback

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
        return int(durations.parse(text))
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
