"""Rotation where objects are locked: nothing that exists changes, and what stays open is said, until when."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from strongroom.container.errors import WrongKey
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive.envelopes import envelope_name, find_newest, wrapping_keys
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.state.records import RunState
from strongroom.targets.errors import TargetLocked
from strongroom.targets.s3 import S3Target
from tests.live.ministack import MiniStack
from tests.live.test_s3_locks import locked_target
from tests.operations.rotation.rotating import Rotated
from tests.operations.world import POLICY, names_on

DAY = timedelta(days=1)


@pytest.fixture
def at(ministack: MiniStack, tmp_path: Path) -> Rotated:
    """A backup of a policy that keeps for 30 days, on one locking target."""
    made = Rotated(tmp_path)
    target = locked_target(ministack, tmp_path)
    made.world = replace(made.world, targets={"eu": target}).with_spec(
        targets=(pin_target("eu", target),), quorum=1, regions=1, minimum_retention_days=30
    )
    return made


def target_of(at: Rotated) -> S3Target:
    found = at.world.targets["eu"]
    assert isinstance(found, S3Target)
    return found


def lasts(until: datetime | None, days: int) -> bool:
    wanted = datetime.now(UTC) + days * DAY
    return until is not None and wanted - DAY < until < wanted + DAY


def test_under_object_lock_nothing_changes_and_the_new_envelope_is_locked_as_long(at: Rotated) -> None:
    backup, target = at.back_up(), target_of(at)
    before = names_on(target)
    services = at.services(at.old, at.new)
    run, tickets = submit_rotation(services, policy=POLICY)
    done = drive(run, tickets, services, processes=1)
    assert (done.state, done.error) == (RunState.DONE, None)
    (key,) = wrapping_keys(at.manifest(backup))
    assert set(names_on(target)) - set(before) == {envelope_name(key, 2)}
    assert lasts(target.locked_until(envelope_name(key, 2)), 30)
    with pytest.raises(TargetLocked):
        target.delete(envelope_name(key, 2))
    assert at.opened(backup, target, at.new) == 30
    with pytest.raises(WrongKey):
        at.opened(backup, target, at.old)

    [result] = results(services.store, run)
    [still] = result["still"]
    assert lasts(datetime.fromisoformat(still["until"]), 30)


def test_an_older_envelope_that_is_locked_stays_and_is_named(at: Rotated) -> None:
    backup, target = at.back_up(), target_of(at)
    services = at.services(at.old, at.new)
    drive(*submit_rotation(services, policy=POLICY), services, processes=1)
    third = KeyFileIdentity(os.urandom(32))
    rotation = at.rotation(at.new, third, recipients=(third.recipient(),))
    [key] = rewrap_backup(at.manifest(backup), [target], rotation)
    assert (key.generation, key.removed, key.locked) == (3, 0, (envelope_name(key.key, 2),))
    assert at.opened(backup, target, third) == 30


def test_junk_that_is_locked_under_the_next_number_is_stepped_over(at: Rotated) -> None:
    """Whoever may put but not delete cannot stop a rotation, nor make it count for nothing."""
    backup, target = at.back_up(), target_of(at)
    (key,) = wrapping_keys(at.manifest(backup))
    junk = b"not an envelope"
    target.put(envelope_name(key, 2), [junk], size=len(junk), sha256=hashlib.sha256(junk).digest())
    [done] = rewrap_backup(at.manifest(backup), [target], at.rotation())
    assert done.generation == 3
    newest = find_newest(target, key, trusted=at.trusted)
    assert newest.newest is not None
    assert at.opened(backup, target, at.new) == 30
