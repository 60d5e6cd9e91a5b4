"""Simulated years in which everything goes wrong: each slot is run once, and each alarm is told in time."""

from __future__ import annotations

import pytest

from tests.simulation.simulation import live, shrink


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_rule_is_broken_in_a_year(seed: int) -> None:
    lived = live(seed)
    assert not lived.broken, str(shrink(lived))
    assert lived.counts["slots claimed"] > 365
