"""The threat model and its tests: each claim is tried by a test that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.process import ROOT

PAGE = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
TRIED = (ROOT / "tests" / "threats" / "claims.txt").read_text()


def claims() -> set[tuple[str, str]]:
    """Return what each of the actors in the page's table cannot do."""
    lines = PAGE.partition("| who | can | cannot |\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert len({who for who, *_ in rows}) == len(rows), "each stands there once"
    return {(who, claim) for who, _, cannot in rows if cannot != "–" for claim in cannot.split("; ")}


def tried() -> list[tuple[str, str, str]]:
    """Return who, claim and test of each line of the list."""
    found: list[tuple[str, str, str]] = []
    who = ""
    for line in TRIED.splitlines():
        if line.startswith("["):
            who = line.strip("[]")
        elif line and not line.startswith("#"):
            claim, _, test = line.rpartition(": ")
            found.append((who, claim, test))
    return found


def test_every_claim_is_tried() -> None:
    by_list = {(who, claim) for who, claim, _ in tried() if who != "the sections"}
    assert by_list == claims()
    assert len(by_list) > 25


@pytest.mark.parametrize(("who", "claim", "test"), tried())
def test_the_test_that_tries_it_exists(who: str, claim: str, test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^def {re.escape(name)}\(", Path(ROOT, file).read_text(), re.MULTILINE), (who, claim)
