"""The collector is held off while records stream, and does not look through what was loaded."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import suppress

import pytest

from strongroom.system.process import loading, uncollected


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()
    gc.unfreeze()


def test_the_collector_stands_still_and_runs_again_whatever_went_wrong() -> None:
    with suppress(ValueError), uncollected():
        assert not gc.isenabled()
        raise ValueError
    assert gc.isenabled()


def test_one_that_was_off_before_stays_off() -> None:
    gc.disable()
    with uncollected():
        pass
    assert not gc.isenabled()


def test_what_was_loaded_is_not_looked_through_again() -> None:
    with loading():
        loaded: list[object] = []
    assert not any(one is loaded for one in gc.get_objects()), "it is frozen"
    assert gc.isenabled()
