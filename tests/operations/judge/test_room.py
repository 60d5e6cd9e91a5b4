"""File systems that run full or let nobody write, each made so for real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from strongroom.operations.engine.findings import Finding, FindingState
from strongroom.operations.judge.fact_records import (
    AlertLimits,
    BackupContents,
    InstallationFacts,
    Policy,
    WatchedRoom,
)
from strongroom.operations.judge.host import LEAST, host, rooms
from tests.targets.disks import read_only, small_disk

MIB = 1024 * 1024


def judged(path: Path, *, percent: int, size: int = 0) -> tuple[FindingState, str]:
    policy = Policy(name="p", targets=("eu",), held=(BackupContents(backup="b", secrets=1, size=size),))
    seen = rooms([WatchedRoom(name="target 'eu' on h", path=path, target="eu")], [policy])
    found: list[Finding] = list(
        host(InstallationFacts(now=0.0, rooms=seen), AlertLimits(free_percent=percent))
    )
    return found[0].state, found[0].code


def test_a_disk_is_low_by_percent_and_full_when_the_next_backup_has_no_room(tmp_path: Path) -> None:
    with small_disk(tmp_path, size=LEAST + 40 * MIB) as mounted:
        if not mounted:
            pytest.skip("may not mount here")
        assert judged(tmp_path, percent=10) == (FindingState.GOOD, "")
        assert judged(tmp_path, percent=101) == (FindingState.WARNING, "WarningsRaised")
        assert judged(tmp_path, percent=10, size=50 * MIB) == (FindingState.WRONG, "TargetFull")
        (tmp_path / "filled").write_bytes(os.urandom(50 * MIB))
        assert judged(tmp_path, percent=10) == (FindingState.WRONG, "TargetFull")


def test_a_place_that_can_not_be_written_to_is_told(tmp_path: Path) -> None:
    with read_only(tmp_path):
        assert judged(tmp_path, percent=0) == (FindingState.WRONG, "TargetFull")
    assert judged(tmp_path, percent=0) == (FindingState.GOOD, "")
