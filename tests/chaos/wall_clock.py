"""The time of day of a whole machine, moved at will: every process in this mount namespace has it.

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


class WallClock:
    """How far the time of day is moved. Processes that run already are not: start them afterwards."""

    def __init__(self, folder: Path) -> None:
        offset, library, preload = folder / "offset", folder / "clock.so", folder / "preload"
        offset.write_bytes(struct.pack("@l", 0))
        with offset.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-O2", f'-DOFFSET_FILE="{offset}"', "-o", library, SOURCE, "-ldl"],
            check=True,
        )
        preload.write_text(f"{library}\n")
        PRELOAD.touch()
        subprocess.run(["mount", "--bind", preload, PRELOAD], check=True)

    @property
    def moved(self) -> int:
        """Seconds by which the time of day is moved."""
        return int(struct.unpack("@l", self._shared[:])[0])

    def advance(self, seconds: int) -> None:
        """Move the time of day forward (or back) at once."""
        self._shared[:] = struct.pack("@l", self.moved + seconds)
