"""YAML, strictly: no aliases, no repeated keys, no depth or size without end, no types of a program's.

Aliases are refused because a few lines of them stand for gigabytes, and a repeated key because YAML
readers keep the last one and say nothing: a secret would be missing. Only nodes are looked at, so a
scalar keeps the text that was written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from msgspec import Raw

LARGEST = 16 << 20
DEEPEST = 64
_STR, _BOOL, _NULL = (f"tag:yaml.org,2002:{word}" for word in ("str", "bool", "null"))
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
"""As JSON spells one; what only YAML calls a number (``0x1f``, ``.inf``) is text to JSON."""
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


class BadYamlError(ValueError):
    """What is wrong, and the line where it is. Its text names keys, never a value."""

    def __init__(self, problem: str, *, line: int) -> None:
        super().__init__(problem)
        self.line = line


class Node:
    """A node of a document, as it was written."""

    def __init__(self, node: Any) -> None:
        self._node = node

    @property
    def line(self) -> int:
        """Return the line on which it begins, from 1."""
        return int(self._node.start_mark.line) + 1

    @property
    def is_text(self) -> bool:
        """Say whether it is a scalar that is text, and not a number, a date, ``yes`` or nothing."""
        return bool(self._node.id == "scalar" and self._node.tag == _STR)

    @property
    def is_scalar(self) -> bool:
        """Say whether it is neither a mapping nor a sequence."""
        return bool(self._node.id == "scalar")

    def text(self, what: str) -> str:
        """Return text. Raises BadYamlError if it is anything else."""
        if not self.is_text:
            raise self.bad(f"{what} is not text; put it in quotes")
        return str(self._node.value)

    def written(self) -> str:
        """Return a scalar as it was written, whatever it is."""
        return str(self._node.value)

    @property
    def is_nothing(self) -> bool:
        """Say whether it is ``null``, however that is written; a text of that spelling is none."""
        return bool(self.is_scalar and self._node.tag == _NULL and self._node.value in _NOTHING)

    def said(self) -> str | None:
        """Return a scalar as it was written, or ``None`` for nothing."""
        return None if not self.is_scalar or self.is_nothing else self.written()

    def members(self, what: str) -> dict[str, Node]:
        """Return a mapping. Raises BadYamlError if it is none, or has a key twice or one that is no text."""
        if self._node.id != "mapping":
            raise self.bad(f"{what} is no mapping")
        found: dict[str, Node] = {}
        for key, value in self._node.value:
            name = Node(key).text(f"a key of {what}")
            if name in found:
                raise Node(key).bad(f"{what} has the key {name!r} twice")
            found[name] = Node(value)
        return found

    def items(self, what: str) -> list[Node]:
        """Return a sequence. Raises BadYamlError if it is none."""
        if self._node.id != "sequence":
            raise self.bad(f"{what} is no list")
        return [Node(item) for item in self._node.value]

    def plain(self) -> Any:
        """Return what JSON can say of it; anything that JSON has no word for, a date say, as text."""
        if self._node.id == "mapping":
            return {name: value.plain() for name, value in self.members("a mapping").items()}
        if self._node.id == "sequence":
            return [item.plain() for item in self.items("a list")]
        return self._scalar()

    def bad(self, problem: str) -> BadYamlError:
        """Make the error for what is wrong here."""
        return BadYamlError(problem, line=self.line)

    def _scalar(self) -> Any:
        """A number stays as it is spelled: read and written anew, a long one would be another."""
        written = self.written()
        if self.is_nothing:
            return None
        if self._node.tag == _BOOL and written in _BOOLS:
            return _BOOLS[written]
        number = not self._node.style and _NUMBER.fullmatch(written)
        return Raw(written.encode()) if number else written


_JSON_ALONE = re.compile(rb"""\t|\\(?:u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|.)""", re.IGNORECASE)
"""What JSON may hold and YAML may not: tabs between words, and a character written as two escapes."""
_NOTHING = ("", "~", "null", "Null", "NULL")


def documents(text: bytes) -> Iterator[Node]:
    """Yield the documents of a YAML text that hold anything.

    Raises:
        BadYamlError: it is no YAML, or more than is read here.
    """
    if len(text) > LARGEST:
        raise BadYamlError(f"the file is larger than {LARGEST >> 20} MiB", line=1)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    problem = None
    text = _of_json(text)
    try:
        _check(yaml, text, loader)
        for node in yaml.compose_all(text, Loader=loader):
            if node is not None and (node.id != "scalar" or node.value not in _NOTHING):
                yield Node(node)
    except yaml.YAMLError as error:  # its words quote the text
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = BadYamlError("broken YAML", line=mark.line + 1 if mark else 1)
    except (UnicodeDecodeError, RecursionError):
        problem = BadYamlError("it is not UTF-8, or nested too deeply", line=1)
    if problem is not None:
        raise problem


def _of_json(text: bytes) -> bytes:
    """Return JSON as YAML spells it, line for line; what is no JSON stays as it is."""
    try:
        msgspec.json.decode(text, type=Raw)
    except (msgspec.DecodeError, RecursionError):
        return text
    return _JSON_ALONE.sub(_spelled, text)


def _spelled(match: re.Match[bytes]) -> bytes:
    high, low = match.groups()
    if high is None:
        return b" " if match[0] == b"\t" else match[0]
    return b"\\U%08x" % (0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)


def _check(yaml: Any, text: bytes, loader: Any) -> None:
    """Walk over the events, of which there are no more than the text is long."""
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        if isinstance(event, yaml.AliasEvent):
            raise BadYamlError(
                "it has aliases (*name), which can stand for any size", line=event.start_mark.line + 1
            )
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise BadYamlError(f"it is nested deeper than {DEEPEST}", line=event.start_mark.line + 1)
