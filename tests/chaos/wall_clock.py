"""The time of day, moved at will: of some processes, or of a whole machine.

Of a machine every process in this mount namespace has it.
``strongroom up`` hands its workers none of its own environment that they do not need, so the library is
preloaded by ``/etc/ld.so.preload``, which is this namespace's alone.
"""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("clock.c")
PRELOAD: Final = Path("/etc/ld.so.preload")


class MovedClock:
    """How far the time of day is moved, for processes that preload ``library`` when they start."""

    def __init__(self, folder: Path) -> None:
        offset, self.library = folder / "offset", folder / "clock.so"
        offset.write_bytes(struct.pack("@l", 0))
        with offset.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        define = f'-DOFFSET_FILE="{offset}"'
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", define, "-o", self.library, SOURCE, "-ldl"], check=True
        )

    @property
    def moved(self) -> int:
        """Seconds by which the time of day is moved."""
        return int(struct.unpack("@l", self._shared[:])[0])

    def advance(self, seconds: int) -> None:
        """Move the time of day forward (or back) at once."""
        self._shared[:] = struct.pack("@l", self.moved + seconds)


class WallClock(MovedClock):
    """The same for a whole machine. Processes that run already are not moved: start them afterwards."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        preload = folder / "preload"
        preload.write_text(f"{self.library}\n")
        PRELOAD.touch()
        subprocess.run(["mount", "--bind", preload, PRELOAD], check=True)
