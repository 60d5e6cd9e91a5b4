"""The parts of the suite that drive no server, on days on which calendars differ: ``make test-dates``.

libfaketime is preloaded into each process and moves its time of day, so it is that day for the tests and for
the programs that they start. What only measures how long something takes is left alone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

PARTS: Final = (
    "tests/cli",
    "tests/config",
    "tests/container",
    "tests/forgeries",
    "tests/keys",
    "tests/operations",
    "tests/recover",
    "tests/sources",
    "tests/state",
    "tests/system",
    "tests/targets",
    "tests/threats",
)
WITHOUT_SERVERS: Final = "not postgres and not redis and not s3_server and not left_until_it_rests"
"""Nor the one test that compares a clock with a file's date: the kernel dates files by the true time."""
BERLIN: Final = "Europe/Berlin"
MOMENTS: Final = {
    "the last day of a short month": ("2027-04-30T12:00", "UTC"),
    "the end of a long month, over midnight": ("2027-01-31T23:55", "UTC"),
    "a leap day": ("2028-02-29T12:00", "UTC"),
    "the night the clock is put forward": ("2027-03-28T01:50", BERLIN),
    "the night the clock is put back": ("2027-10-31T02:50", BERLIN),
    "new year": ("2027-12-31T23:55", "UTC"),
}
LIBRARIES: Final = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
)


def surroundings(moment: str, zone: str) -> dict[str, str]:
    """Return the environment in which it is a moment now, by the clock of a time zone."""
    moved = datetime.fromisoformat(moment).replace(tzinfo=ZoneInfo(zone)).timestamp() - time.time()
    return os.environ | {
        "LD_PRELOAD": _library(),
        "FAKETIME": f"{moved:+.0f}",  # an offset: a moment would begin anew in each process
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "TZ": zone,
    }


def _library() -> str:
    for pattern in LIBRARIES:
        for found in sorted(Path("/").glob(pattern[1:])):
            return str(found)
    sys.exit("libfaketime is missing: 'sh scripts/install-test-services faketime' installs it.")


def main() -> int:
    """Run the parts on each day, to the end; return whether one was red."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--day", action="append", choices=MOMENTS, help="only this day")
    parser.add_argument(
        "words", nargs="*", help="what pytest is given, after '--'; tests among them replace the parts"
    )
    asked = parser.parse_args()
    red = [day for day in asked.day or MOMENTS if _run(day, asked.words)]
    sys.stdout.write(f"red: {'; '.join(red) or 'none'}\n")
    return bool(red)


def _run(day: str, words: Sequence[str]) -> int:
    sys.stdout.write(f"\n== {day}: {' '.join(MOMENTS[day])}\n")
    sys.stdout.flush()
    parts = () if any(word.startswith("tests/") for word in words) else PARTS
    asked = [sys.executable, "-m", "pytest", "-k", WITHOUT_SERVERS, *parts, *words]
    return subprocess.run(asked, env=surroundings(*MOMENTS[day]), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
