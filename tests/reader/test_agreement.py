"""Random backups, a third of them damaged: product, recover.py and third reader find no difference."""

from __future__ import annotations

import pytest

from tests.reader.agreeing import difference, scratch

A_FEW = range(0, 400, 50)
MANY = range(1_000_000, 1_100_000, 1_000)


@pytest.mark.sampled(every=4)
@pytest.mark.parametrize("first", A_FEW)
def test_three_readers_agree_on_random_backups(first: int) -> None:
    assert _differences(first, 50) == []


@pytest.mark.long
@pytest.mark.parametrize("first", MANY)
def test_three_readers_agree_on_a_hundred_thousand_random_backups(first: int) -> None:
    assert _differences(first, MANY.step) == []


def _differences(first: int, count: int) -> list[str]:
    with scratch() as path:
        return [said for seed in range(first, first + count) if (said := difference(seed, path))]
