"""Removing what was sealed anew: only what has a good successor, whole, and as often as one likes."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from strongroom.container.errors import MissingPiece
from strongroom.errors import UsageError
from strongroom.operations.archive import holds
from strongroom.operations.archive.deletions import make_mark, write_deletion
from strongroom.operations.engine.layout import index_name
from strongroom.operations.errors import QuorumNotMet
from strongroom.operations.rotation.reencrypt import remove_replaced
from strongroom.state.records import Replica
from strongroom.targets.errors import TargetUnavailable
from tests.operations.retention.test_prune import rot
from tests.operations.rotation.rotating import CountingTarget, Rotated
from tests.operations.rotation.test_rotate import rotate
from tests.operations.world import names_on


@pytest.fixture
def at(tmp_path: Path) -> Rotated:
    return Rotated(tmp_path)


def test_the_old_backup_goes_from_every_target_and_the_new_one_opens(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services)
    rotate(services, reencrypt=True)
    removed = remove_replaced(services, backup)
    assert (removed.gone, removed.kept) == (("ap", "eu", "us"), {})
    assert services.store.backup(backup) is None
    for target in at.all_targets():
        assert not [name for name in names_on(target) if f"/{backup}/" in name or name.startswith("keys/")]
        assert at.opened(f"{backup}-r1", target, at.new) == 30


def test_the_indexes_that_tell_its_names_go_too_for_a_key_that_leaked_opens_them(at: Rotated) -> None:
    backup = at.back_up()
    other = at.back_up()
    services = at.services(at.old, at.new)
    for target in at.all_targets():
        for told in (backup, other):
            target.put(index_name(backup, told, "0" * 64), [b"x"], size=1, sha256=sha256(b"x").digest())
    rotate(services, reencrypt=True)
    remove_replaced(services, backup)
    assert [name for target in at.all_targets() for name in names_on(target) if "index/" in name] == []


def test_what_was_not_sealed_anew_is_not_removed(at: Rotated) -> None:
    backup = at.back_up()
    with pytest.raises(UsageError, match="not re-encrypted"):
        remove_replaced(at.services(at.old), backup)
    with pytest.raises(MissingPiece):
        remove_replaced(at.services(at.old), "20000101T000000Z-00000000")
    assert at.opened(backup, at.world.targets["eu"], at.old) == 30


def test_what_is_held_stays_until_the_hold_is_lifted(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    holds.hold(services, "backup", backup, reason="case 4711", by="anna")
    removed = remove_replaced(services, backup)
    assert removed.gone == ()
    assert all("case 4711" in why for why in removed.kept.values())
    assert at.opened(backup, at.world.targets["eu"], at.old) == 30
    holds.release(services, "backup", backup, reason="settled", by="anna")
    assert remove_replaced(services, backup).gone == ("ap", "eu", "us")


def test_where_the_new_one_is_not_good_the_old_one_stays(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    bad = Replica(backup=f"{backup}-r1", target="us", good=False, verified=None, verified_at=None)
    services.store.set_replica(bad)
    removed = remove_replaced(services, backup)
    assert (removed.gone, list(removed.kept)) == (("ap", "eu"), ["us"])
    assert at.opened(backup, at.world.targets["us"], at.old) == 30
    services.store.set_replica(
        Replica(backup=f"{backup}-r1", target="eu", good=False, verified=None, verified_at=None)
    )
    with pytest.raises(QuorumNotMet):
        remove_replaced(services, backup)


def test_where_the_new_one_lost_a_container_since_it_was_read_the_old_one_stays(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    for target in at.all_targets():
        target.delete(next(info.name for info in target.list(f"containers/{backup}-r1/")))
    removed = remove_replaced(services, backup)
    assert (removed.gone, set(removed.kept)) == ((), {"ap", "eu", "us"})
    assert at.opened(backup, at.world.targets["eu"], at.old) == 30


def test_what_replaces_it_and_is_marked_to_be_deleted_replaces_nothing(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    mark = make_mark(f"{backup}-r1", "marked", reason="", after="2100-01-01T00:00:00Z")
    assert write_deletion(services, list(services.targets.values()), mark) == {}
    assert remove_replaced(services, backup).gone == ()


class Failing(CountingTarget):
    """Stops answering after so many deletions."""

    left = 1_000

    def delete(self, name: str) -> None:
        if self.left == 0:
            raise TargetUnavailable(f"{self.name} does not answer")
        self.left -= 1
        super().delete(name)


@pytest.mark.parametrize("deletions", [0, 1, 2])
def test_interrupted_it_goes_on_the_next_time(at: Rotated, deletions: int) -> None:
    eu = Failing("eu")
    at.world.targets["eu"] = eu  # type: ignore[index]
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    eu.left = deletions
    assert list(remove_replaced(services, backup).kept) == ["eu"]
    eu.left = 1_000
    assert remove_replaced(services, backup).gone == ("eu",)
    assert not [name for name in names_on(eu) if f"/{backup}/" in name or name.endswith(f"{backup}.json")]
    assert services.store.backup(backup) is None


def test_where_the_new_one_rotted_since_it_was_read_the_old_one_stays(at: Rotated) -> None:
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    rot(at.world.targets["eu"], f"{backup}-r1")
    removed = remove_replaced(services, backup)
    assert removed.gone == ("ap", "us")
    assert "cannot be read on eu (Tampered)" in removed.kept["eu"]
    assert at.opened(backup, at.world.targets["eu"], at.old) == 30


def test_from_another_medium_under_the_same_name_nothing_is_said_to_be_gone(at: Rotated) -> None:
    """The one with the old backup lies in the safe, and the key still opens it there."""
    backup = at.back_up()
    services = at.services(at.old, at.new)
    rotate(services, reencrypt=True)
    swapped = at.services(at.old, at.new, targets={**at.world.targets, "ap": CountingTarget("ap")})
    removed = remove_replaced(swapped, backup)
    assert removed.gone == ("eu", "us")
    assert "another medium" in removed.kept["ap"]
    assert at.opened(backup, at.world.targets["ap"], at.old) == 30
    assert remove_replaced(services, backup).gone == ("ap",)
