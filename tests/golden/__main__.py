"""Play every script, and write what came of it: ``python -m tests.golden [--to FOLDER] [NAME ...]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.golden import clock

clock.stop()  # before anything asks what time it is, or what machine this is

from tests.golden.lists import lists  # noqa: E402
from tests.golden.script import FOLDER, Houses, scripts  # noqa: E402
from tests.warm_server import warm_up  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a file of tests/golden, without its ending")
    parser.add_argument("--to", type=Path, default=FOLDER, help="where the files are written")
    asked = parser.parse_args()
    warm_up()
    houses = Houses()
    try:
        for name in asked.names or scripts():
            (asked.to / f"{name}.txt").write_text(houses.play(name), encoding="utf-8")
    finally:
        houses.close()
    if not asked.names:
        (asked.to / "lists.txt").write_text(lists(), encoding="utf-8")


if __name__ == "__main__":
    main()
