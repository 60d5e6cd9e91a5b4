"""Print which files of Strongroom a command enters: whose functions it calls.

    python scripts/files_entered.py backup full.sr --include-values --force

Importing a file is not entering it, nor is what its own import calls. So this tells what a reader must know
to follow one command. The command runs for real, where and on whatever it is told to. Processes that it forks
count too.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from strongroom.cli.main import main as command  # noqa: E402 - of these sources


def main(words: list[str]) -> int:
    """Run one command line and print the files that it entered, on stderr."""
    sys.argv[0] = "strongroom"
    with tempfile.NamedTemporaryFile() as seen:
        note_calls(seen.name)
        try:
            exit_code = command(words)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        entered = sorted(set(Path(seen.name).read_text(encoding="utf-8").split("\n")) - {""})
    print("\n".join(entered), file=sys.stderr)
    return exit_code


def note_calls(path: str) -> None:
    """From now on write down each file whose functions are called, here and in forked processes."""
    codes: set[CodeType] = set()
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code not in codes and not _importing(frame):
            codes.add(frame.f_code)
            if (name := _entered(frame)) is not None:
                os.write(descriptor, f"{name}\n".encode())

    threading.setprofile(note)
    sys.setprofile(note)


def _importing(frame: FrameType) -> bool:
    caller: FrameType | None = frame
    while caller is not None:
        if caller.f_code.co_filename.startswith("<frozen importlib"):
            return True
        caller = caller.f_back
    return False


def _entered(frame: FrameType) -> str | None:
    """Return the file of a call, from the root of the sources; ``None`` if it is none of Strongroom's."""
    path = Path(frame.f_code.co_filename)
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT / "strongroom") else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
