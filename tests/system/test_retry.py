"""One rule for every wait: it grows, it has an end, and chance spreads its second half."""

from __future__ import annotations

import random

import pytest

from strongroom.system.attempts import backoff


@pytest.mark.parametrize(
    ("failures", "least", "most"),
    [(1, 0.5, 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (4, 2.5, 5.0), (9_999, 2.5, 5.0)],
)
def test_a_wait_doubles_up_to_its_limit_and_half_of_it_is_drawn(
    failures: int, least: float, most: float
) -> None:
    assert backoff(failures, first=1.0, longest=5.0, draw=lambda low, high: low) == least
    assert backoff(failures, first=1.0, longest=5.0, draw=lambda low, high: high) == most


def test_two_that_failed_together_do_not_come_back_together() -> None:
    drawn = {backoff(3, first=0.25, draw=random.Random(seed).uniform) for seed in range(50)}

    assert len(drawn) == 50
    assert all(0.5 <= wait <= 1.0 for wait in drawn)
