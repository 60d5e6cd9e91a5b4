"""What the processes of a local cluster print: one log file each, JSON lines only, rotated by size.

The supervisor reads it from a pipe and alone writes the file, so that no two processes rotate one, what a
library prints past the logging becomes a line like the others, and the last error is at hand when a
process exits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from workers.wakeup import Wakeup

LIMIT: Final = 10 * 1024 * 1024
KEPT: Final = 5
LONGEST: Final = 256 * 1024
"""Bytes of the longest line: one without an end is cut, not gathered without end."""
ERRORS: Final = frozenset({"error", "critical"})

OnLine = Callable[[dict[str, Any]], None]


class LogFile:
    """A file of lines that begins again past ``limit`` bytes; the ``kept`` before it are numbered.

    A full disk costs lines, never the cluster.
    """

    def __init__(self, path: Path, *, limit: int = LIMIT, kept: int = KEPT) -> None:
        self._path, self._limit, self._kept = path, limit, kept

    def write(self, line: bytes) -> None:
        """Append a line."""
        with suppress(OSError):
            if self._size() + len(line) > self._limit:
                self._rotate()
            with self._path.open("ab") as file:
                file.write(line)

    def _size(self) -> int:
        with suppress(FileNotFoundError):
            return self._path.stat().st_size
        return 0

    def _rotate(self) -> None:
        for number in range(self._kept - 1, 0, -1):
            with suppress(FileNotFoundError):
                self._numbered(number).replace(self._numbered(number + 1))
        with suppress(FileNotFoundError):
            self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class ChildLog:
    """Where one process's stdout and stderr go.

    Args:
        name: the process.
        file: what its lines are written to.
        wakeup: what wakes when there is something to read.
        on_line: called with each line that is of our own logging.
    """

    def __init__(self, name: str, file: LogFile, *, wakeup: Wakeup, on_line: OnLine) -> None:
        self.last_error = ""
        self._name, self._file, self._wakeup, self._on_line = name, file, wakeup, on_line
        self._read: int | None = None
        self._rest = b""

    def connect(self) -> int:
        """Return the end of a new pipe to write to; close it once the process has it."""
        self.close()
        self.last_error = ""
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self._wakeup.watch(self._read, self.pump)
        return write

    def pump(self) -> None:
        """Take what has come; never waits."""
        while self._read is not None:
            try:
                data = os.read(self._read, 65536)
            except BlockingIOError:
                return
            if not data:
                self._end()
                return
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self._take(line)
            if len(self._rest) > LONGEST:
                self._take(self._rest)
                self._rest = b""

    def close(self) -> None:
        """Take what is left, and let go of the pipe."""
        self.pump()
        self._end()

    def _end(self) -> None:
        if self._rest:
            self._take(self._rest)
            self._rest = b""
        if self._read is not None:
            self._wakeup.unwatch(self._read)
            os.close(self._read)
            self._read = None

    def _take(self, raw: bytes) -> None:
        text = raw.decode("utf-8", "replace").rstrip()
        if not text:
            return
        line = _parsed(text)
        ours = line is not None
        line = line or {"at": _now(), "level": "info", "process": self._name, "event": "output", "text": text}
        if ours and line.get("level") in ERRORS:
            self.last_error = error_summary(line)
        elif not ours and not text[0].isspace():
            self.last_error = text
        self._file.write(json.dumps(line).encode() + b"\n")
        if ours:
            self._on_line(line)


def error_summary(line: dict[str, Any]) -> str:
    """Return an error's line in few words: the exception's own, if it has one."""
    error = line.get("error")
    return str(error[0] if isinstance(error, list) and error else line.get("why") or line.get("event"))


def _parsed(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"at", "level", "event"} <= found.keys() else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
