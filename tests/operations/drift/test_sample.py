"""A sample of what changed: exact for a few, near enough for many, and small for any number."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from strongroom.operations.checks.drift import SIZE, Sample, share_unknown


def sample(numbers: Iterable[int]) -> tuple[int, ...]:
    made = Sample()
    for number in numbers:
        made.add(number)
    return made.numbers()


def drawn(count: int, seed: int) -> list[int]:
    return random.Random(seed).sample(range(2**48), count)


def test_a_sample_has_the_lowest_numbers_in_order() -> None:
    numbers = drawn(2_000, 1)
    assert sample(numbers) == tuple(sorted(numbers)[:SIZE])


@pytest.mark.parametrize("new", [0, 1, 50, 100])
def test_of_a_few_the_share_is_exact(new: int) -> None:
    numbers = drawn(200, 2)
    earlier, now = sample(numbers[:100]), sample(numbers[new : 100 + new])
    assert share_unknown(now, earlier) == new / 100


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_of_many_the_share_is_near(share: float) -> None:
    count = 20_000
    numbers = drawn(2 * count, 3)
    new = round(share * count)
    earlier, now = sample(numbers[:count]), sample(numbers[new : count + new])
    assert abs(share_unknown(now, earlier) - share) < 0.1


def test_nothing_has_nothing_new_and_everything_is_new_to_nothing() -> None:
    assert share_unknown((), (1, 2)) == 0.0
    assert share_unknown((1, 2), ()) == 1.0
