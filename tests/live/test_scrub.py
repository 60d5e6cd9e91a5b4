"""Damage of each kind on real targets: found by the next due verification, repaired, told. No person asks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import structs

from strongroom.operations.archive.open import open_backup
from strongroom.operations.engine.calendar_entries import Scheduled
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.submit import open_due
from strongroom.operations.judge import facts_on_record
from strongroom.operations.judge.fact_records import AlertLimits, InstallationFacts
from strongroom.operations.judge.judgement import alerts
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.state.records import RunKind, RunState
from strongroom.targets import Target
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.resilient import Resilient
from strongroom.targets.s3 import LockMode, ObjectLock
from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.regions import azure_region, s3_region
from tests.operations.backup.planted import KINDS, Planted, Vandal
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, made_up

DAY = 86_400.0
HOURLY = Scheduled(
    name="verification",
    kind=RunKind.SCRUB,
    schedule="0 * * * *",
    options={"span": 30 * DAY, "rate": 20_000_000},
)


class BucketOwner(Vandal):
    """Somebody who may write to a bucket under Object Lock: new versions, locked too, and delete markers."""

    def __init__(self, server: MiniStack) -> None:
        self._client = server.client()

    def remove(self, target: Target, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket(target), Key=name)

    def overwrite(self, target: Target, name: str, content: bytes) -> None:
        until = datetime.now(UTC) + timedelta(days=2)
        self._client.put_object(
            Bucket=self._bucket(target),
            Key=name,
            Body=content,
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=until,
        )

    def _bucket(self, target: Target) -> str:
        return str(target.target.bucket.options.bucket)  # type: ignore[attr-defined]


@pytest.fixture
def at(ministack: MiniStack, azurite: Azurite, tmp_path: Path) -> Rotated:
    """A world whose targets are a bucket under Object Lock, an Azure container and a directory."""
    directory = DirectoryTarget(tmp_path / "ap", name="ap", region="ap")
    directory.prepare()
    lock = ObjectLock(mode=LockMode.GOVERNANCE, days=1, max_days=400)
    targets: dict[str, Target] = {
        "eu": s3_region(ministack, tmp_path, name="eu", locking=True, lock=lock).target(),
        "us": azure_region(azurite, tmp_path, name="us").target(),
        "ap": Resilient(directory),
    }
    made = Rotated(tmp_path, secrets=made_up(4), pieces=2)
    made.world = made.world.with_targets(targets).with_spec(minimum_retention_days=30)
    return made


FEW = ("bit", "rollback", "deletion of the replica", "stripped envelope")
long = pytest.mark.long


@pytest.mark.parametrize(
    ("kinds", "shift"),
    [
        (FEW, 0),
        *(pytest.param(tuple(KINDS), shift, marks=long, id=f"all, from {shift}") for shift in range(3)),
    ],
)
def test_damage_on_real_targets_is_found_repaired_and_told_by_the_next_slot(
    at: Rotated, ministack: MiniStack, kinds: Sequence[str], shift: int
) -> None:
    owner = BucketOwner(ministack)
    targets = at.all_targets()
    older, *backups = [at.back_up() for _ in range(len(kinds) + 1)]
    list(rewrap_backup(at.manifest(backups[-1]), targets, at.rotation()))
    services = at.services(at.old, at.new)
    checks = services.store.checks()
    services.store.put_checks([structs.replace(one, checked_at=one.checked_at - 29 * DAY) for one in checks])
    planted = dict(zip(kinds, backups, strict=True))
    for number, (kind, backup) in enumerate(planted.items()):
        target = targets[(number + shift) % 3]
        KINDS[kind][0](Planted(target, backup, older, owner if target.name == "eu" else Vandal()))

    open_due(services, [HOURLY])
    [run] = services.store.active()
    ended = drive(run.id, services.store.take_ready(run.id, window=8), services, processes=1)

    assert ended.state is RunState.DEGRADED
    told = {event.detail["backup"]: event.detail for event in services.store.events(kind="replica.repaired")}
    for number, (kind, backup) in enumerate(planted.items()):
        said = told.pop(backup)
        assert said["target"] == targets[(number + shift) % 3].name
        assert re.search(KINDS[kind][1], said["why"]), (kind, said)
    assert not told
    assert not services.store.with_bad_replicas()
    for backup in services.store.names(POLICY):
        for target in targets:
            opened = open_backup(target, backup, identities=[at.old, at.new], trusted=at.trusted)
            assert sum(1 for _ in opened.secrets()) == 4
    mended = tuple(facts_on_record.mended_replicas(services.store, now=ended.created_at))
    told = alerts(InstallationFacts(now=ended.created_at, mended=mended), AlertLimits())
    assert sorted(alert.key for alert in told) == [f"replica.repaired:{name}" for name in ("ap", "eu", "us")]
