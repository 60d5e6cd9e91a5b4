"""The store in memory does what the real one does: the same weeks on both, and every run compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.state.codec import encode
from strongroom.state.records import RunKind
from tests.simulation.clocked_store import ClockedStore
from tests.simulation.faults import HOUR, Fault, draw_faults
from tests.simulation.simulation import live_through, make_year
from tests.simulation.thin_store import ThinStore
from tests.simulation.year import MakeStore, simulated

DAYS = 6


@pytest.mark.parametrize("seed", [3, pytest.param(4, marks=pytest.mark.long)])
def test_the_store_in_memory_does_what_the_real_one_does(seed: int, tmp_path: Path) -> None:
    real = _lived(seed, partial(ClockedStore, tmp_path / "state.db"))
    assert _lived(seed, ThinStore) == real
    assert len(real) > DAYS


def _lived(seed: int, make_store: MakeStore) -> list[tuple[object, ...]]:
    """Live some days, in which the faults of a year happen, and return what became of every run."""
    year = make_year(seed, make_store)
    with simulated(year):
        live_through(year, map(_shorter, draw_faults(seed, year.start, DAYS)), days=DAYS)
    found = [
        (run.id, run.spec.kind, run.state, run.created_at, run.finished_at, run.error, encode(run.facts))
        for policy in year.installation.policies
        for kind in RunKind
        for run in year.store.newest_of(policy, kind, 1000)
    ]
    year.store.close()
    return [*found, *year.store.claimed]


def _shorter(fault: Fault) -> Fault:
    return structs.replace(fault, seconds=min(fault.seconds, 12 * HOUR))
