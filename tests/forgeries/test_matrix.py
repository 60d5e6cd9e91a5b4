"""Every reader gives the one right answer to every forgery, on a target and in a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forgeries.forgery import RECIPIENT, STRANGER, WRITE, Forgery
from tests.forgeries.genuine import genuine
from tests.forgeries.table import forgeries, often, seldom
from tests.forgeries.voices import Place, cells, empty_database, repaired, scratch, values_of
from tests.process import ROOT

FORGERIES = forgeries()
OUTSIDERS = [one for one in often() if one.group in {WRITE, STRANGER, RECIPIENT} and not one.disk][::4]
"""Enough of them: repairing takes long. A person has to remove what is no file on a disk."""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with scratch() as found:
        yield found


@pytest.fixture(scope="module")
def database(folder: Path) -> Path:
    return empty_database(folder)


@pytest.fixture
def here(folder: Path, request: pytest.FixtureRequest) -> Path:
    made = folder / f"{request.node.originalname}-{FORGERIES.index(request.getfixturevalue('forgery'))}"
    made.mkdir()
    return made


@pytest.mark.sampled(every=16)
@pytest.mark.parametrize("forgery", often(), ids=lambda one: one.name)
def test_every_reader_gives_the_one_right_answer(forgery: Forgery, here: Path, database: Path) -> None:
    assert [cell.wrong for cell in cells(forgery, here, database) if cell.wrong] == []


@pytest.mark.long
@pytest.mark.parametrize("forgery", seldom(), ids=lambda one: one.name)
def test_every_reader_gives_the_one_right_answer_to_the_rest_of_the_tables(
    forgery: Forgery, here: Path, database: Path
) -> None:
    assert [cell.wrong for cell in cells(forgery, here, database) if cell.wrong] == []


@pytest.mark.sampled(every=8)
@pytest.mark.parametrize("forgery", OUTSIDERS, ids=lambda one: one.name)
def test_a_repair_from_a_genuine_target_brings_back_what_an_outsider_forged(
    forgery: Forgery, here: Path, database: Path
) -> None:
    values = values_of(genuine().contents)
    assert repaired(Place(here, forgery), database) == [values, values]


def test_the_threat_models_page_has_the_groups_and_their_counts() -> None:
    page = (ROOT / "docs" / "explanation" / "threat-model.md").read_text()
    counts = Counter(one.group for one in FORGERIES)
    assert sum(counts.values()) >= 255 + 270
    for group, many in counts.items():
        assert f"| {group} | {many} |" in page
    assert f"{len(FORGERIES)} forgeries" in page
