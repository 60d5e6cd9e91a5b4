"""Random targets of several backups: the three readers take the same one, give the same and end alike."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.reader.agreeing import scratch
from tests.reader.choosing import difference
from tests.reader.targets import PER_WORLD

A_FEW = range(0, 400, PER_WORLD)
MANY = range(1_000_000, 1_100_000, 25 * PER_WORLD)


@pytest.fixture(autouse=True)
def _without_a_word_of_links() -> Iterator[None]:
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


FOUND = (3_000_097, 3_000_633, 5_000_735, 11_000_065)
"""Seeds that once differed: a key that fits nothing and a damaged segment; the same and a newer backup;
a damaged manifest with a stranger's beside it; junk that is no manifest."""


@pytest.mark.parametrize("seed", FOUND)
def test_three_readers_agree_where_they_once_did_not(seed: int) -> None:
    assert _differences(seed, 1) == []


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("first", A_FEW)
def test_three_readers_agree_on_random_targets(first: int) -> None:
    assert _differences(first, A_FEW.step) == []


@pytest.mark.long
@pytest.mark.parametrize("first", MANY)
def test_three_readers_agree_on_a_hundred_thousand_random_targets(first: int) -> None:
    assert _differences(first, MANY.step) == []


def _differences(first: int, count: int) -> list[str]:
    with scratch() as path:
        return [said for seed in range(first, first + count) if (said := difference(seed, path))]
