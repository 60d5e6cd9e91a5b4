"""Rotation where a bucket keeps versions: what deleting only hid is told, with the day that ends it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

from strongroom.cli.commands.keys.rotate import RotationDone, _removed
from strongroom.cli.shared.recipients import describe_remaining
from strongroom.keys.destroying.services import FileDestroyer
from strongroom.keys.keyfile import KeyFileIdentity
from strongroom.operations.archive.envelopes import OldVersions
from strongroom.operations.engine.drive import drive
from strongroom.operations.engine.integrity import pin_target
from strongroom.operations.engine.services import Services
from strongroom.operations.keys.usage import EARLIER, still_opens
from strongroom.operations.procedures.incident import describe_copies
from strongroom.operations.rotation.job import results, submit_rotation
from strongroom.operations.rotation.reencrypt import remove_replaced
from strongroom.operations.rotation.rewrap import rewrap_backup
from strongroom.operations.rotation.rotate import RotateOptions
from strongroom.state.records import RunState
from strongroom.targets.s3 import S3Target
from tests.live.ministack import MiniStack
from tests.live.moto import Moto
from tests.live.test_hidden import Bucket, midnight_after, removes_after
from tests.live.test_policies import Account, account, moto  # noqa: F401 - fixtures
from tests.operations.rotation.rotating import Rotated
from tests.operations.shredding.worlds import Vault
from tests.operations.world import POLICY


class HidesOnly(S3Target):
    """A bucket by a credential that may not remove versions, as that of the control workers."""

    def purge(self, prefix: str) -> int:
        return len(self.hidden(prefix))


class Place:
    """A backup on one target, in a bucket that keeps versions."""

    def __init__(self, server: MiniStack, folder: Path) -> None:
        self.bucket = Bucket(server, folder)
        self.at = Rotated(folder)
        self.at.world = only(self.at.world, self.bucket.target)

    def rotate(self, services: Services, **options: object) -> dict[str, Any]:
        run, tickets = submit_rotation(services, policy=POLICY, options=RotateOptions(**options))  # type: ignore[arg-type]
        assert drive(run, tickets, services, processes=1).state is RunState.DONE
        (result,) = results(services.store, run)
        return dict(result)


def only(world: Any, target: S3Target) -> Any:
    pins = (pin_target("eu", target),)
    return replace(world, targets={"eu": target}).with_spec(targets=pins, quorum=1, regions=1)


@pytest.fixture
def place(ministack: MiniStack, tmp_path: Path) -> Place:
    return Place(ministack, tmp_path)


def test_where_nothing_was_deleted_nothing_is_hidden(place: Place) -> None:
    at = place.at
    backup = at.back_up()
    list(rewrap_backup(at.manifest(backup), [place.bucket.target], at.rotation()))
    [still] = still_opens(at.manifest(backup), [place.bucket.target], (at.recipient,))
    assert still.old_versions == OldVersions()
    assert describe_remaining(to_builtins(still)) == "until it is deleted"


def test_an_envelope_that_a_later_rotation_removed_is_told(place: Place) -> None:
    """It opens for the key in between, of which the manifest does not know."""
    at = place.at
    backup = at.back_up()
    list(rewrap_backup(at.manifest(backup), [place.bucket.target], at.rotation()))
    third = KeyFileIdentity(os.urandom(32))
    back = at.rotation(at.new, at.old, third, recipients=(at.old.recipient(),))
    [key] = rewrap_backup(at.manifest(backup), [place.bucket.target], back)
    assert key.removed == 1
    place.bucket.rules(removes_after(30))
    [still] = still_opens(at.manifest(backup), [place.bucket.target], (at.old.recipient(),))
    assert (still.keys, still.fingerprints) == ((EARLIER,), ())
    day = midnight_after(30).isoformat()
    assert still.old_versions == OldVersions(count=1, until=day)


def test_a_replaced_backup_that_was_removed_is_told_until_the_rule_s_day(place: Place) -> None:
    at = place.at
    backup = at.back_up()
    options = place.bucket.target.bucket.options
    at.world = replace(at.world, targets={"eu": HidesOnly(options, name="eu")})
    services = at.services(at.old, at.new)
    place.bucket.rules(removes_after(30))
    result = _removed(place.rotate(services, reencrypt=True), services)
    assert result["removed"] == ["eu"]
    [still] = result["still"]
    day = midnight_after(30).isoformat()
    assert (still["backup"], still["deleted"]) == (backup, True)
    assert still["old_versions"] == {"count": 3, "locked_until": "", "until": day}
    answer = RotationDone(anew=True, runs=(), backups=(result,)).answer()
    assert to_builtins(answer.record)["old_key_still_opens"] == [still]
    words = f"- backup {backup} on eu, where it is deleted, and hidden: 3 old versions, until {day}"
    assert words in answer.sheet.text()
    [event] = [one for one in services.store.events(limit=1000) if one.kind == "backup.removed"]
    assert event.detail["hidden"]["eu"]["count"] == 3
    assert f"hidden versions of 1 backup on eu, until {day}" in list(describe_copies([still]))


def test_once_the_hidden_versions_are_removed_nothing_is_told_any_more(place: Place) -> None:
    services = place.at.services(place.at.old, place.at.new)
    backup = place.at.back_up()
    place.rotate(services, reencrypt=True)
    place.bucket.target.delete(f"manifests/{backup}.json")
    place.bucket.target.purge(f"containers/{backup}/")
    assert remove_replaced(services, backup).hidden == {}


def test_who_may_not_list_versions_is_told_that_and_not_that_there_are_none(
    account: Account,  # noqa: F811
    tmp_path: Path,
) -> None:
    at = Rotated(tmp_path)
    at.world = only(at.world, account.target("control"))
    backup = at.back_up()
    may = account.target("recover", lacks="s3:ListBucketVersions")
    [still] = still_opens(at.manifest(backup), [may], (at.recipient,))
    assert still.old_versions == OldVersions(count=-1, locked_until="unknown", until="unknown")
    may = account.target("recover", lacks="s3:GetLifecycleConfiguration")
    at.world.targets["eu"].delete(f"containers/{backup}/{at.manifest(backup).containers[0].sha256}")
    [still] = still_opens(at.manifest(backup), [may], (at.recipient,))
    assert still.old_versions == OldVersions(count=1, until="unknown")


def test_shredding_waits_for_the_day_on_which_what_is_hidden_goes(
    account: Account,  # noqa: F811
    moto: Moto,  # noqa: F811
    tmp_path: Path,
) -> None:
    """By a key that nobody can prove to be gone, and a credential that may only hide."""
    at = Vault(tmp_path, key_service=FileDestroyer)
    at.world = only(at.world, account.target("control"))
    backup = at.back_up()
    at.current = "k2"
    moto.enforce(after="inf")
    moto.client("s3").put_bucket_lifecycle_configuration(
        Bucket=account.bucket,
        LifecycleConfiguration={"Rules": [{"ID": "r", "Status": "Enabled", **removes_after(30)}]},
    )
    moto.enforce()
    judged = at.shred(backup)[backup].judged
    assert (judged.verdict, judged.until) == ("pending", midnight_after(30).strftime("%Y-%m-%dT%H:%M:%SZ"))
