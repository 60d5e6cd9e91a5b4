"""The walk that holds a source against a backup: batches, tables of numbers, and secrets one by one."""

from __future__ import annotations

import random
import sys

from strongroom.operations.archive.live_comparison import Numbers, describe_drift


def test_a_table_of_numbers_answers_as_a_dictionary_does() -> None:
    chance = random.Random(14)
    numbers, model = Numbers(), dict[str, int]()
    for _ in range(5_000):
        name, number = f"app/{chance.randrange(2_000)}", chance.getrandbits(64)
        numbers.set(name, number)
        model[name] = number
    for name in (f"app/{number}" for number in range(2_100)):
        assert numbers.get(name) == model.get(name)


def test_a_table_takes_a_fraction_of_what_a_dictionary_would() -> None:
    numbers, count = Numbers(), 200_000
    for number in range(count):
        numbers.set(f"app/{number}", number)
    assert len(numbers) == count
    assert sys.getsizeof(numbers._table) < 64 * count


def test_drift_is_said_in_counts_alone_and_only_where_there_is_some() -> None:
    assert describe_drift(0, 0) == ""
    assert (
        describe_drift(1, 2, 3) == "1 secret changed, 2 secrets missing from it, 3 secrets not in the backup"
    )
