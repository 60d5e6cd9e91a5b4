"""One of something for each process: made on first use, made again in a child, given up to be closed."""

from __future__ import annotations

from itertools import count

from strongroom.plugins.conformance.sources import in_a_child
from strongroom.system.process import PerProcess


def test_what_is_forgotten_is_given_back_once_and_made_anew() -> None:
    kept = PerProcess(count(1).__next__)
    assert kept.forget() is None
    assert kept.get() == 1
    assert kept.forget() == 1
    assert kept.forget() is None
    assert kept.get() == 2


def test_a_child_forgets_nothing_of_its_parents() -> None:
    kept = PerProcess(count(1).__next__)
    assert kept.get() == 1
    assert in_a_child(lambda: kept.forget() is None and kept.get() == 2)
    assert kept.get() == 1
