"""How fast earlier restores were, as their records tell it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from strongroom.operations.restore.journal import (
    DONE,
    ENOUGH,
    JOURNAL,
    RECENT,
    Journal,
    RestoreAccount,
    Restored,
    measured_rate,
)
from strongroom.operations.restore.restore import restore
from strongroom.plugins.conformance.sources import secret
from strongroom.sources.memory import MemoryStore

ONE = Journal(
    started_at="2026-11-27T00:00:00Z",
    backup="b",
    to="vault",
    goes_on="",
    ended=DONE,
    counts=Restored(created=100, unchanged=300),
    seconds=14.0,
    writing_seconds=10.0,
)


def put(undo: Path, name: str, journal: Journal = ONE) -> None:
    (undo / name).mkdir(parents=True)
    (undo / name / JOURNAL).write_bytes(msgspec.json.encode(journal))


def test_what_is_written_takes_longer_than_what_is_only_compared(tmp_path: Path) -> None:
    put(tmp_path, "1")
    rate = measured_rate(tmp_path, "vault")
    assert rate is not None
    assert (rate.writing, rate.looking) == (0.1, 0.01)
    assert rate.seconds(Restored(created=1_000, unchanged=1_000)) == pytest.approx(120)


def test_too_little_undos_and_other_destinations_tell_no_rate(tmp_path: Path) -> None:
    put(tmp_path, "1", replace(ONE, to="other"))
    put(tmp_path, "2", replace(ONE, undoes="1"))
    put(tmp_path, "3", replace(ONE, counts=Restored(created=ENOUGH - 1)))
    put(tmp_path, "4", replace(ONE, counts=Restored(unchanged=1_000)))
    assert measured_rate(tmp_path, "vault") is None


def test_only_the_newest_restores_count(tmp_path: Path) -> None:
    put(tmp_path, "000", replace(ONE, writing_seconds=0.0, seconds=1_000_000.0))
    for number in range(RECENT):
        put(tmp_path, f"1{number:02}")
    rate = measured_rate(tmp_path, "vault")
    assert rate is not None
    assert (rate.restores, rate.looking) == (RECENT, pytest.approx(0.01))


def test_pieces_of_a_run_that_were_done_at_once_took_as_long_as_from_first_to_last(tmp_path: Path) -> None:
    put(tmp_path, "run", replace(ONE, counts=Restored(), seconds=0.0))
    put(tmp_path / "run", "00000")
    put(tmp_path / "run", "00001", replace(ONE, started_at="2026-11-27T00:00:06Z"))
    rate = measured_rate(tmp_path, "vault")
    assert rate is not None
    assert rate.writing * 200 + rate.looking * 800 == pytest.approx(20)


def test_a_restore_puts_on_record_how_long_it_took_and_how_long_of_this_it_wrote(tmp_path: Path) -> None:
    account = RestoreAccount(tmp_path / "1", replace(ONE, seconds=0.0, writing_seconds=0.0, ended=""))
    account.begin()
    wanted = [secret(f"name/{number}") for number in range(ENOUGH)]
    restore(lambda: wanted, MemoryStore(), account=account)
    account.end(DONE)
    journal = msgspec.json.decode((tmp_path / "1" / JOURNAL).read_bytes(), type=Journal)
    assert 0 < journal.writing_seconds < journal.seconds
    assert measured_rate(tmp_path, "vault") is not None
