"""The threat model and its tests: each claim is tried by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.process import ROOT

PAGE = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading line."""
    lines = PAGE.partition(f"{heading}\n")[2].splitlines()[1:]
    table: list[list[str]] = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split("|")])
    return table


def claims() -> dict[str, list[str]]:
    """Return what each of the first table's actors cannot do."""
    return {who: cannot.split("; ") for who, _, cannot in rows("| who | can | cannot |")}


def tried() -> list[tuple[str, str, str]]:
    """Return who, claim and test of the second table; an empty first cell means the one above."""
    found: list[tuple[str, str, str]] = []
    for who, claim, test in rows("| who | claim | test |"):
        found.append((who or found[-1][0], claim, test.strip("`")))
    return found


def test_every_claim_is_tried() -> None:
    by_table = {(who, claim) for who, claim, _ in tried() if who != "*the sections*"}
    assert by_table == {(who, claim) for who, all_of in claims().items() for claim in all_of}
    assert len(by_table) > 25


@pytest.mark.parametrize(("who", "claim", "test"), tried())
def test_the_test_that_tries_it_exists(who: str, claim: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", Path(ROOT, file).read_text(), re.MULTILINE), (who, claim)
