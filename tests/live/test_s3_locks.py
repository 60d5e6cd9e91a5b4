"""Object Lock on a live server: what is locked stays, locks only grow, damage is repaired beside."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.model import Depth
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.repair import submit_repair
from strongroom.operations.backup.verify_job import submit_verify
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.services import Services
from strongroom.operations.engine.submit import Submitted
from strongroom.plugins.conformance.targets import MIB, get, killed_putter, names, put
from strongroom.state.records import Run, RunState
from strongroom.targets import Target
from strongroom.targets.errors import TargetLocked, TargetUnavailable
from strongroom.targets.reading import whole_copy
from strongroom.targets.resilient import Resilient
from strongroom.targets.s3 import LockMode, ObjectLock, S3Target
from tests.live.ministack import MiniStack
from tests.live.proxy import FaultyProxy, LoseReply, method
from tests.live.regions import s3_region
from tests.operations.world import World, made_up, make_world, names_on

DAY = timedelta(days=1)
Clock = Callable[[], datetime]


def now() -> datetime:
    return datetime.now(UTC)


def locked_target(
    server: MiniStack,
    folder: Path,
    *,
    mode: LockMode = LockMode.GOVERNANCE,
    name: str = "eu",
    url: str | None = None,
    clock: Clock = now,
    **options: object,
) -> S3Target:
    region = s3_region(
        server, folder, name=name, locking=True, lock=ObjectLock(mode=mode, days=1, max_days=400)
    )
    made = region.make(url or region.url, **options)
    assert isinstance(made, S3Target)
    return S3Target(made.bucket.options, name=name, region=name, clock=clock)


@pytest.fixture(params=list(LockMode))
def target(request: pytest.FixtureRequest, ministack: MiniStack, tmp_path: Path) -> S3Target:
    return locked_target(ministack, tmp_path, mode=request.param)


# -- locks -----------------------------------------------------------------------------


def test_what_is_put_is_locked_for_a_short_while(target: S3Target) -> None:
    before = now()
    put(target, "a", b"content")
    end = target.locked_until("a")

    assert target.locks
    assert end is not None
    assert before + DAY - timedelta(minutes=1) < end < now() + DAY + timedelta(minutes=1)


def test_what_is_put_in_parts_is_locked_too(ministack: MiniStack, tmp_path: Path) -> None:
    target = locked_target(ministack, tmp_path, part_bytes=5 * MIB)
    put(target, "a", bytes(6 * MIB))

    assert target.locked_until("a") is not None


def test_what_is_locked_can_be_neither_removed_nor_replaced(target: S3Target) -> None:
    put(target, "a", b"content")

    with pytest.raises(TargetLocked, match="locked until"):
        target.delete("a")
    assert put(target, "a", b"other") is False
    assert get(target, "a") == b"content"


def test_a_lock_is_extended_and_never_shortened(target: S3Target) -> None:
    put(target, "a", b"content")
    end = now() + 30 * DAY

    locked = target.extend_lock("a", end)
    assert end <= locked < end + timedelta(seconds=2)
    assert target.extend_lock("a", now() + 2 * DAY) == locked
    assert target.locked_until("a") == locked


def test_a_lock_goes_no_further_than_its_maximum(target: S3Target) -> None:
    put(target, "a", b"content")

    assert target.extend_lock("a", now() + 40_000 * DAY) < now() + 401 * DAY


def test_nothing_can_be_locked_that_is_not_there(target: S3Target) -> None:
    with pytest.raises(MissingPiece):
        target.extend_lock("never", now() + DAY)


def test_a_legal_hold_holds_for_ever(target: S3Target, ministack: MiniStack) -> None:
    put(target, "a", b"content")
    ministack.client().put_object_legal_hold(
        Bucket=target.bucket.options.bucket, Key="a", LegalHold={"Status": "ON"}
    )

    assert target.locked_until("a") == datetime.max.replace(tzinfo=UTC)
    with pytest.raises(TargetLocked, match="legal hold"):
        target.delete("a")


def test_an_object_whose_lock_ended_can_be_removed(ministack: MiniStack, tmp_path: Path) -> None:
    target = locked_target(ministack, tmp_path)
    put(target, "a", b"content")

    later = S3Target(target.bucket.options, name="eu", clock=lambda: now() + 2 * DAY)
    assert later.locked_until("a") is None


def test_a_bucket_without_object_lock_takes_nothing_for_a_target_that_locks(
    ministack: MiniStack, tmp_path: Path
) -> None:
    region = s3_region(ministack, tmp_path, name="eu", lock=ObjectLock(mode=LockMode.GOVERNANCE))
    target = region.target()

    with pytest.raises(TargetError) as caught:
        put(target, "a", b"content")
    assert not caught.value.transient
    assert "Object Lock" in caught.value.hint
    assert "the bucket has no Object Lock" in caught.value.message, "a run shows the message alone"


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_ten_minutes_off_locks_all_the_same(
    ministack: MiniStack, tmp_path: Path, minutes: int
) -> None:
    off = timedelta(minutes=minutes)
    target = locked_target(ministack, tmp_path, clock=lambda: now() + off)

    before = now()
    assert put(target, "a", b"content") is True
    end = target.locked_until("a")
    assert end is not None
    assert before + DAY + off - timedelta(minutes=1) < end < now() + DAY + off + timedelta(minutes=1)
    wanted = now() + 30 * DAY
    assert target.extend_lock("a", wanted) >= wanted - timedelta(seconds=5)


# -- what goes with a request ----------------------------------------------------------


def test_every_request_names_the_owner_that_the_bucket_must_have(
    ministack: MiniStack, tmp_path: Path
) -> None:
    region = s3_region(ministack, tmp_path, name="eu", expected_bucket_owner="000000000000")
    with FaultyProxy(region.port) as proxy:
        target = region.target(proxy.url)
        put(target, "a", b"content")
        get(target, "a")
        names(target)
        target.delete("a")

        sent = [{name.lower(): value for name, value in one.headers.items()} for one in proxy.requests]
        assert {headers.get("x-amz-expected-bucket-owner") for headers in sent} == {"000000000000"}


def test_an_upload_in_parts_goes_on_where_a_killed_one_stopped(ministack: MiniStack, tmp_path: Path) -> None:
    region = s3_region(ministack, tmp_path, name="eu", part_bytes=5 * MIB)
    content = os.urandom(12 * MIB)
    digest = hashlib.sha256(content).digest()
    with FaultyProxy(region.port) as proxy:
        interrupted = region.make(proxy.url)
        proxy.fail(LoseReply(), when=method("POST", query="uploadId"), times=None)

        def chunks() -> Iterator[bytes]:
            yield content

        with pytest.raises(TargetError):
            interrupted.put("a", _broken_after(content, 11 * MIB), size=len(content), sha256=digest)
        proxy.heal()
        sent = len(proxy.seen(method("PUT", query="partNumber")))

        assert region.make(proxy.url).put("a", chunks(), size=len(content), sha256=digest) is True

        parts = len(proxy.seen(method("PUT", query="partNumber")))
        assert (sent, parts) == (2, 3)
        assert get(region.target(), "a") == content


def _broken_after(content: bytes, size: int) -> Iterator[bytes]:
    """Give so much, then fail as a stage does that does not answer any more."""
    yield content[:size]
    raise TargetUnavailable("the stage did not answer")


def test_a_sweep_removes_the_parts_that_a_killed_writer_left(ministack: MiniStack, tmp_path: Path) -> None:
    region = s3_region(ministack, tmp_path, name="eu", part_bytes=5 * MIB)
    target = region.make(region.url)
    with killed_putter(target, "containers/r/a", sent=11 * MIB):
        pass

    assert target.abort_incomplete("containers/other/") == 0
    assert target.abort_incomplete("containers/r/") == 1
    assert target.abort_incomplete("") == 0


# -- a backup whose locked replica is damaged ------------------------------------------


@pytest.fixture
def world(ministack: MiniStack, other_ministack: MiniStack, tmp_path: Path) -> World:
    targets: dict[str, Target] = {
        "eu": Resilient(locked_target(ministack, tmp_path)),
        "us": Resilient(locked_target(other_ministack, tmp_path, name="us", mode=LockMode.COMPLIANCE)),
        "ap": s3_region(other_ministack, tmp_path, name="ap").target(),
    }
    return (
        make_world(tmp_path, secrets=made_up(12), pieces=2)
        .with_targets(targets)
        .with_spec(minimum_retention_days=30)
    )


def finish(submitted: Submitted, services: Services) -> Run:
    run, tickets = submitted
    return drive(run, tickets, services, processes=1)


def damage(target: Target, name: str, server: MiniStack) -> None:
    """Put a damaged version over a locked one: what a reader gets from then on, locked too."""
    content = bytearray(get(target, name))
    content[len(content) // 2] ^= 1
    server.client().put_object(
        Bucket=target.target.bucket.options.bucket,  # type: ignore[attr-defined]
        Key=name,
        Body=bytes(content),
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=now() + 2 * DAY,
    )


def test_a_commit_locks_all_of_a_backup_for_as_long_as_the_policy_keeps_it(world: World) -> None:
    run = world.back_up()
    assert run.state is RunState.DONE, run.error

    for name in ("eu", "us"):
        target = world.targets[name]
        ends = [target.locked_until(one) for one in names_on(target)]
        assert len(ends) >= 3
        assert all(end is not None and end > now() + 29 * DAY for end in ends)


def test_a_backup_by_hosts_whose_clocks_are_ten_minutes_off_is_whole_and_locked(
    ministack: MiniStack, other_ministack: MiniStack, tmp_path: Path
) -> None:
    off = timedelta(minutes=10)
    targets: dict[str, Target] = {
        "eu": Resilient(locked_target(ministack, tmp_path, clock=lambda: now() - off)),
        "us": Resilient(locked_target(other_ministack, tmp_path, name="us", clock=lambda: now() + off)),
    }
    built = make_world(tmp_path, secrets=made_up(6), pieces=1)
    world = built.with_targets(targets).with_spec(minimum_retention_days=30)

    run = world.back_up()

    assert run.state is RunState.DONE, run.error
    for target in targets.values():
        ends = [target.locked_until(one) for one in names_on(target)]
        assert all(end is not None and end > now() + 29 * DAY for end in ends)


@pytest.mark.parametrize("kind", [pytest.param("containers/", marks=pytest.mark.long), "manifests/"])
def test_a_damaged_locked_object_is_repaired_beside_it_and_read_from_there(
    world: World, other_ministack: MiniStack, kind: str
) -> None:
    backup = world.back_up().id
    us = world.targets["us"]
    name = next(one for one in names_on(us) if one.startswith(kind))
    digest = hashlib.sha256(get(us, name)).digest()
    damage(us, name, other_ministack)
    services = world.services()
    assert finish(submit_verify(services, backup=backup), services).state is RunState.DEGRADED

    repaired = finish(submit_repair(services, backup=backup), services)

    assert repaired.state is RunState.DONE, repaired.error
    assert whole_copy(us, name, sha256=digest) == f"{name}.r1"
    end = us.locked_until(f"{name}.r1")
    assert end is not None
    assert end > now() + 29 * DAY
    verified = finish(submit_verify(services, backup=backup, depth=Depth.COMPARED), services)
    assert verified.state is RunState.DONE, verified.error
    opened = open_backup(us, identities=[world.identity], trusted=services.signer_fingerprints)
    assert sorted(secret.name for secret in opened.secrets()) == [s.name for s in made_up(12)]
