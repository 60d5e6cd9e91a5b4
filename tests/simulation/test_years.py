"""Simulated times in which everything goes wrong: no rule is broken.

``make simulate RUNS=1000`` lives whole years of a thousand seeds. Here as many faults as in a year come
within two months.
"""

from __future__ import annotations

import pytest

from tests.simulation.simulation import live, shrink


@pytest.mark.sampled(every=3)
@pytest.mark.parametrize("seed", range(1, 11))
def test_no_rule_is_broken_however_much_goes_wrong(seed: int) -> None:
    lived = live(seed, days=60)
    assert not lived.broken, str(shrink(lived))
    assert lived.counts["slots claimed"] > 60
