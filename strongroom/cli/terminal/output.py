"""Where commands say things: answers on stdout, everything else on stderr.

With ``--json`` stdout carries exactly one JSON document, which is written when it is known how the command
ends. Text that came out of a file or a
database is cleaned of control characters, which could rewrite what a terminal shows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from strongroom import words
from strongroom.errors import StrongroomError

if TYPE_CHECKING:
    from msgspec import Struct

    from strongroom.cli.terminal.answer import Answer

plural, size, verb = words.plural, words.size, words.verb


class Output:
    """The two streams of one command."""

    def __init__(self, *, json: bool = False, quiet: bool = False, command: str = "") -> None:
        self.command = command
        self.json = json
        self.quiet = quiet
        self.ending: StrongroomError | None = None
        self.left: Callable[[], str] = lambda: "nothing half-written was left."
        """Says what an interruption leaves: asked when it came, of whoever knows."""
        self._document: Mapping[str, Any] | Struct | None = None
        self._settled = False
        self._warned: set[str] = set()

    def end_with(self, error: StrongroomError | None, *, first: bool = False) -> None:
        """Have the command end with an error, once it has done all that it can.

        Args:
            first: it goes before what was said already.
        """
        self.ending = (error or self.ending) if first else (self.ending or error)

    def give(self, answer: Answer) -> None:
        """Print an answer: its warnings, then its sheet for people now or its record for machines at the end,
        then its notes; have the command end with its error."""
        for text in answer.warnings:
            self.warn(text)
        if self.json:
            self._document = answer.record
        else:
            looked_at = sys.stdout.isatty()
            colour = looked_at and not os.environ.get("NO_COLOR")
            sys.stdout.write(answer.sheet.text(columns() if looked_at else None, colour=colour))
            sys.stdout.flush()
        for text in answer.notes:
            self.note(text)
        self.end_with(answer.error)

    def settle(self, error: Mapping[str, Any] | None = None) -> None:
        """Write the one document: the answer, and the error that the command ends with.

        A command that goes on running after its answer calls this itself.
        """
        if self._settled or not self.json or (self._document is None and error is None):
            return
        self._settled = True
        self._write(encode({**_as_mapping(self._document), "error": error}))

    def raw(self, data: bytes) -> None:
        """Print bytes as they are; on a terminal a line feed follows."""
        sys.stdout.flush()
        self._write(data + (b"\n" if sys.stdout.isatty() and not data.endswith(b"\n") else b""))

    def note(self, text: str) -> None:
        """Say something in passing, on stderr."""
        if not self.quiet:
            print(clean(text), file=sys.stderr)

    def say(self, line: str) -> None:
        """Print our own words, which may be coloured, on stderr."""
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Say something that a person should act on, on stderr, even when quiet."""
        print(f"{paint('warning:', '33;1')} {clean(text)}", file=sys.stderr)

    def warn_once(self, text: str) -> None:
        """Warn of what holds for many things that a command reads."""
        if text not in self._warned:
            self._warned.add(text)
            self.warn(text)

    @property
    def lively(self) -> bool:
        """Whether somebody watches stderr, so that progress is worth showing."""
        return not self.quiet and sys.stderr.isatty()

    def _write(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def _as_mapping(document: Mapping[str, Any] | Struct | None) -> Mapping[str, Any]:
    if document is None or isinstance(document, Mapping):
        return document or {}
    import msgspec

    spelled: dict[str, Any] = msgspec.to_builtins(document, enc_hook=str)
    return spelled


def encode(document: Any) -> bytes:
    """Return a document as indented JSON."""
    import msgspec

    try:
        content = msgspec.json.encode(document, enc_hook=str)
    except UnicodeEncodeError:  # the name of a file may be any bytes
        content = msgspec.json.encode(_in_unicode(msgspec.to_builtins(document, enc_hook=str)))
    return msgspec.json.format(content, indent=2) + b"\n"


def _in_unicode(found: Any) -> Any:
    """Spell out what no UTF-8 can carry: half a surrogate pair, which stands for a byte of a file's name."""
    match found:
        case str():
            return found.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_in_unicode(key): _in_unicode(value) for key, value in found.items()}
        case list() | tuple():
            return [_in_unicode(value) for value in found]
    return found


def clean(text: str) -> str:
    """Return text in which no character can move the cursor, change colours or reorder."""
    return words.spelled_out(text, but="\n\t")


def in_line(text: str) -> str:
    """Return text of others as part of one line: its line feeds could forge further lines."""
    return words.spelled_out(text)


def paint(text: str, code: str) -> str:
    """Colour text for stderr, if that is a terminal and nobody objects (no-color.org)."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        return text
    return f"\x1b[{code}m{text}\x1b[0m"


def columns() -> int:
    """Return how wide the terminal is; 100 if none is looking."""
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) >= 40:
        return int(given)
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        return 100


def fill_streams() -> None:
    """Give a process that was started without a standard stream the null device for it.

    Otherwise the next file to be opened gets its number, and whatever a library prints there.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open


def clear_broken_pipe() -> None:
    """Point stdout at nothing, so that the interpreter's last flush stays quiet too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
