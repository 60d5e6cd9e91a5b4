"""Print which files of Strongroom a command enters: whose functions it calls.

    python scripts/files_entered.py backup full.sr --include-values --force
    python scripts/files_entered.py --write     # the page on what a backup enters

Importing a file is not entering it, nor is what its own import calls. So this tells what a reader must know
to follow one command. The command runs for real, where and on whatever it is told to. Processes that it forks
count too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from strongroom.cli.main import main as command  # noqa: E402 - of these sources

PAGE = ROOT / "docs" / "explanation" / "what-a-backup-enters.md"
_HEAD = """\
# What a backup enters

<!-- Made from the code: python scripts/files_entered.py --write -->

`strongroom backup FILE --include-values` seals a file of secrets into one sealed file.
For that it calls functions of {many} files.
The first lines of each file say what it is for.
A backup by a policy performs the same steps; only its targets are others.

| Room | Its files |
|---|---|
"""


def main(words: list[str]) -> int:
    """Run one command line and print the files that it entered, on stderr; or write the page."""
    if words == ["--write"]:
        PAGE.write_text(page(of_a_backup()), encoding="utf-8")
        return 0
    sys.argv[0] = "strongroom"
    with tempfile.NamedTemporaryFile() as seen:
        note_calls(seen.name)
        try:
            exit_code = command(words)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
        entered = sorted(set(Path(seen.name).read_text(encoding="utf-8").split()))
    print("\n".join(entered), file=sys.stderr)
    return exit_code


# -- measuring -----------------------------------------------------------------


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


# -- the page ------------------------------------------------------------------


def of_a_backup() -> list[str]:
    """Return the files that an installation's second backup enters: the first one makes its keys, too."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name in ("first.sr", "second.sr"):
            entered = _entered_by(folder, "backup", name, *_SEALED)
    return entered


def of_a_restore() -> list[str]:
    """Return the files that bringing everything back from such a backup enters."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        _entered_by(folder, "backup", "full.sr", *_SEALED)
        return _entered_by(folder, "restore", "--backup-file", "full.sr", "--full-restore", "--quiet")


_SEALED = ("--source", "files:secrets.jsonl", "--include-values", "--force", "--quiet")


def _entered_by(folder: Path, *words: str) -> list[str]:
    (folder / "secrets.jsonl").write_text('{"name":"a","value":"made up"}\n')
    kept = {key: value for key, value in os.environ.items() if not key.startswith("STRONGROOM_")}
    env = kept | {
        "STRONGROOM_STATE_DIR": str(folder / "state"),
        "STRONGROOM_PASSPHRASE": "made up: six words nobody would guess",
    }
    done = subprocess.run(
        [sys.executable, __file__, *words], cwd=folder, env=env, capture_output=True, text=True, check=True
    )
    return [line for line in done.stderr.split("\n") if line.startswith("strongroom/")]


def page(files: Iterable[str]) -> str:
    """Return the page: the files by room."""
    entered = sorted((Path(file) for file in files), key=lambda file: (file.parent, file))
    return _HEAD.format(many=len(entered)) + "".join(
        f"| `{room}` | {', '.join(file.stem.strip('_') for file in group)} |\n"
        for room, group in groupby(entered, key=lambda file: file.parent.as_posix())
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
