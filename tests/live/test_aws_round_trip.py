"""An account's secrets backed up, the server wiped, all restored: everything the API tells is compared."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.model import ListedSecret
from strongroom.operations.archive.open import open_backup
from strongroom.operations.backup.single_file import backup_to_file
from strongroom.operations.restore.journal import Restored
from strongroom.operations.restore.restore import chosen, restore
from strongroom.sources.aws import AwsSource
from strongroom.sources.aws.secrets import ASLEEP
from strongroom.targets.directory import DirectoryTarget
from strongroom.targets.single_file import BundleReader
from tests.live import aws_account
from tests.live.moto import Moto
from tests.operations.world import World, make_world

COUNTS = [60, pytest.param(500, marks=pytest.mark.long)]  # each oddity is in 60, all their crossings in 120
ROTATION = ("RotationEnabled", "RotationLambdaARN", "RotationRules")
DIFFERENCES = {
    **dict.fromkeys(("ARN", "Versions.*.value.ARN"), "the service draws its last six characters"),
    **dict.fromkeys(("CreatedDate", "LastChangedDate", "Versions.*.listed"), "moments are the service's own"),
    "Versions.*.value.CreatedDate": "moments are the service's own",
    **dict.fromkeys((f"{key} gone" for key in ROTATION), "switched on again only when asked for"),
    **dict.fromkeys(("LastRotatedDate gone", "NextRotationDate gone"), "there is no rotation by now"),
}
"""What the API may tell otherwise after a restore, and why; each is met."""
OF_DELETED = {
    "ARN": DIFFERENCES["ARN"],
    **dict.fromkeys(("CreatedDate", "LastChangedDate"), "moments are the service's own"),
    "DeletedDate": "the service counts whole days from now: compared to the day",
    **dict.fromkeys(("Versions.* gone", "VersionIdsToStages.* gone"), "it gives their values to nobody"),
}
"""The same of secrets that were scheduled for deletion."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    stage = DirectoryTarget(tmp_path / "stage", name="stage", region="local")
    stage.prepare()
    return make_world(tmp_path).with_stage(stage)


@pytest.fixture
def empty_moto(aws_credentials: None) -> Iterator[Moto]:
    """What stands in place of a server that is lost."""
    with Moto() as server:
        yield server


def back_up(world: World, moto: Moto, path: Path) -> int:
    """Back up into a file; return how many secrets are in it."""
    manifest = backup_to_file(
        path,
        source=AwsSource(moto.options(), name="aws"),
        recipients=[world.identity.recipient()],
        services=world.services(),
    )
    return manifest.counts.secrets


def bring_back(world: World, path: Path, destination: AwsSource, *, overwrite: bool = False) -> Restored:
    with BundleReader(path) as bundle:
        backup = open_backup(bundle, identities=[world.identity], trusted=None)
        return restore(lambda: chosen(backup), destination, overwrite=overwrite)


def differences(before: Any, after: Any, at: str = "") -> Iterator[str]:
    """Yield where two answers differ, and what one lacks; ``*`` stands for any version."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        if before != after:
            yield at
        return
    for key in sorted(before.keys() | after.keys()):
        name = "*" if at in ("Versions", "VersionIdsToStages") else key
        path = f"{at}.{name}".lstrip(".")
        if key in before and key in after:
            yield from differences(before[key], after[key], path)
        else:
            yield f"{path} {'gone' if key in before else 'new'}"


@pytest.mark.timeout(900)  # two thousand versions, one request after the other
@pytest.mark.parametrize("count", COUNTS)
def test_a_wiped_account_comes_back_as_the_api_told_it(
    world: World, own_moto: Moto, empty_moto: Moto, tmp_path: Path, count: int
) -> None:
    aws_account.fill(own_moto, range(count))
    before, copies = aws_account.told(own_moto), aws_account.replicas(own_moto)
    assert back_up(world, own_moto, tmp_path / "backup") == count
    own_moto.kill()
    destination = AwsSource(empty_moto.options(), name="aws")
    done = bring_back(world, tmp_path / "backup", destination)
    after = aws_account.told(empty_moto)

    assert (done.created, done.compared) == (count, count)
    assert before.keys() == after.keys()
    found: dict[bool, set[str]] = {True: set(), False: set()}
    for name, told in before.items():
        found["DeletedDate" in told].update(differences(told, after[name]))
        assert told["ARN"][:-7] == after[name]["ARN"][:-7]
        assert days_apart(told, after[name]) <= 1
    assert found == {True: OF_DELETED.keys(), False: DIFFERENCES.keys()}
    assert aws_account.replicas(empty_moto) == copies
    assert len(copies) == sum(number % 15 == 4 for number in range(count) if number % 40 != 39)
    assert len([told for told in before.values() if told.get("DeletedDate")]) == count // 20
    assert told_losses(destination) == {
        ASLEEP,
        "secrets that were scheduled for deletion came back without values, and so",
        "versions without a value in the backup were not made",
    }


def days_apart(told: dict[str, Any], after: dict[str, Any]) -> float:
    """Return how far the days of a deletion are from each other, in days."""
    if told.get("DeletedDate") is None:
        assert after.get("DeletedDate") is None
        return 0.0
    return abs((told["DeletedDate"] - after["DeletedDate"]).total_seconds()) / 86_400


def told_losses(destination: AwsSource) -> set[str]:
    return {line.partition(":")[0] for line in destination.losses()}


def test_rotation_is_switched_on_again_where_that_was_asked_for(
    world: World, own_moto: Moto, empty_moto: Moto, tmp_path: Path
) -> None:
    """At once, or by a second restore, as after one that died before it."""
    aws_account.fill(own_moto, range(11))
    before = aws_account.told(own_moto)
    back_up(world, own_moto, tmp_path / "backup")
    aws_account.make_function(empty_moto)
    turned = [name for name, told in before.items() if told.get("RotationEnabled")]
    assert len(turned) == 2
    empty_moto.client().create_secret(Name=turned[0], SecretString="CANARY-other")

    asleep = AwsSource(empty_moto.options(), name="aws")
    bring_back(world, tmp_path / "backup", asleep)
    assert not rotating(empty_moto)
    awake = AwsSource(empty_moto.options(rearm_rotation=True), name="aws")
    done = bring_back(world, tmp_path / "backup", awake, overwrite=True)

    assert (done.changed, done.unchanged) == (1, 10)
    assert rotating(empty_moto) == {name: {key: before[name][key] for key in ROTATION} for name in turned}
    assert ASLEEP in told_losses(asleep)
    assert not [line for line in awake.losses() if "rotation" in line]


def rotating(moto: Moto) -> dict[str, dict[str, Any]]:
    return {
        name: {key: told[key] for key in ROTATION}
        for name, told in aws_account.told(moto).items()
        if told.get("RotationEnabled")
    }


def test_a_function_that_is_not_there_ends_no_restore(
    world: World, own_moto: Moto, empty_moto: Moto, tmp_path: Path
) -> None:
    aws_account.fill(own_moto, range(11))
    back_up(world, own_moto, tmp_path / "backup")
    destination = AwsSource(empty_moto.options(rearm_rotation=True), name="aws")
    assert bring_back(world, tmp_path / "backup", destination).compared == 11
    (line,) = [line for line in destination.losses() if line.startswith("rotation could not")]
    assert ": 2 (prod/team-" in line


def test_restoring_again_changes_nothing(world: World, moto: Moto, tmp_path: Path) -> None:
    aws_account.fill(moto, range(30))
    back_up(world, moto, tmp_path / "backup")
    before = aws_account.told(moto)
    done = bring_back(world, tmp_path / "backup", AwsSource(moto.options(), name="aws"), overwrite=True)
    assert (done.unchanged, done.changed, done.created) == (30, 0, 0)
    for told in (after := aws_account.told(moto)).values():
        for version in told["Versions"].values():
            version.pop("listed")  # moto says "now" to every question
    for told in before.values():
        for version in told["Versions"].values():
            version.pop("listed")
    assert after == before


def test_a_restore_over_what_was_changed_keeps_the_newer_history(
    world: World, moto: Moto, tmp_path: Path
) -> None:
    client = moto.client()
    client.create_secret(Name="A", SecretString="CANARY-old", Tags=[{"Key": "team", "Value": "blue"}])
    back_up(world, moto, tmp_path / "backup")
    newer = client.put_secret_value(SecretId="A", SecretString="CANARY-new")["VersionId"]
    client.untag_resource(SecretId="A", TagKeys=["team"])
    client.put_resource_policy(SecretId="A", ResourcePolicy="{}")
    destination = AwsSource(moto.options(), name="aws")
    assert bring_back(world, tmp_path / "backup", destination, overwrite=True).changed == 1
    (found,) = destination.read([ListedSecret("A", 0)])
    assert found is not None
    assert [v.value and v.value.reveal() for v in found.versions] == [
        b"CANARY-old",
        b"CANARY-new",
        b"CANARY-old",
    ]
    assert found.tags == {"team": "blue"}
    assert found.metadata["aws"]["versions"]["2"] == {"id": newer, "stages": ["AWSPREVIOUS"]}
    assert "policy" not in found.metadata["aws"]
