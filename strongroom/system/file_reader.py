"""A local file, read by range."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Self


class LocalFileReader:
    """A local file that can be read at any offset; a context manager that closes it.

    ``stat`` is of the file that was opened, whatever has its name by now.
    """

    def __init__(self, path: Path | str) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.stat = os.fstat(self._file)
        self.size = self.stat.st_size

    def read(self, offset: int, length: int) -> bytes:
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
