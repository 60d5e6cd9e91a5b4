"""``python -m tests.forgeries [WORDS]`` prints the table; with ``--ask``, also each wrong answer."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.forgeries.forgery import Forgery
from tests.forgeries.table import forgeries
from tests.forgeries.voices import cells, empty_database, scratch


def ask(forgery: Forgery, folder: Path, database: Path) -> list[str]:
    folder.mkdir()
    return [cell.wrong for cell in cells(forgery, folder, database) if cell.wrong]


def line(forgery: Forgery) -> str:
    aside = f", {forgery.aside} left aside" if forgery.aside else ""
    return f"{forgery.group:36}  {forgery.name:64}  {forgery.expect}{aside}"


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--ask"]
    chosen = [one for one in forgeries() if all(word in one.name for word in words)]
    wrong = 0
    with scratch() as folder:
        database = empty_database(folder)
        for number, forgery in enumerate(chosen):
            print(line(forgery), flush=True)  # noqa: T201
            found = ask(forgery, folder / str(number), database) if "--ask" in sys.argv else []
            wrong += len(found)
            for said in found:
                print(f"    {said}", flush=True)  # noqa: T201
    print(f"{len(chosen)} forgeries" + (f", {wrong} wrong answers" if "--ask" in sys.argv else ""))  # noqa: T201
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
