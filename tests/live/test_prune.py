"""A prune on live servers: what was said to go is gone there, versions and all, and nothing else is.

What lies on a target is counted by its owner, with the server's own client.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from azure.storage.blob import ContainerClient

from strongroom.operations.retention.delete import Deleted
from strongroom.state.records import RunState
from strongroom.targets import Target
from strongroom.targets.azure import AzureAccount, AzureTarget
from strongroom.targets.directory import DirectoryTarget
from tests.live.azurite import Azurite
from tests.live.ministack import MiniStack
from tests.live.test_hidden import Bucket
from tests.operations.retention.pruning import ONE, opens, prune, results
from tests.operations.world import World, made_up, make_world

Lying = dict[tuple[str, str], int]
"""Size of each object by its name and version, as the server tells its owner."""


class Place(NamedTuple):
    """A target, and how its owner lists it."""

    target: Target
    lying: Callable[[], Lying]


def in_bucket(server: MiniStack, folder: Path, *, locking: bool = False) -> tuple[Bucket, Place]:
    bucket = Bucket(server, folder, locking=locking)

    def lying() -> Lying:
        pages = bucket.client.get_paginator("list_object_versions").paginate(Bucket=bucket.name)
        entries: list[dict[str, Any]] = [
            entry for page in pages for kind in ("Versions", "DeleteMarkers") for entry in page.get(kind, ())
        ]
        return {
            (entry["Key"].removeprefix("backups/"), entry["VersionId"]): entry.get("Size", 0)
            for entry in entries
        }

    return bucket, Place(bucket.target, lying)


def in_container(server: Azurite, folder: Path) -> Place:
    name = f"sr-{secrets.token_hex(6)}"
    owner = ContainerClient.from_connection_string(server.connection_string(), name)
    owner.create_container()
    account = AzureAccount(
        url=server.account_url,
        container=name,
        credential_file=server.key_file(folder / f"{name}.key"),
        retries=0,
    )

    def lying() -> Lying:
        return {(blob.name, ""): int(blob.size or 0) for blob in owner.list_blobs()}

    return Place(AzureTarget(account, name="us", region="us"), lying)


def in_directory(folder: Path) -> Place:
    target = DirectoryTarget(folder / "ap", name="ap", region="ap")
    target.prepare()

    def lying() -> Lying:
        # The file that says whose directory it is is no object.
        files = (path for path in (folder / "ap").rglob("[!.]*") if path.is_file())
        return {(str(path.relative_to(folder / "ap")), ""): path.stat().st_size for path in files}

    return Place(target, lying)


def two_backups(folder: Path, *places: Place) -> tuple[World, str, str]:
    """Return a world with two backups on these places, of which its rules keep the newer one."""
    world = replace(make_world(folder, secrets=made_up(6), pieces=2), keep=ONE, grace_days=0)
    world = world.with_targets({place.target.name: place.target for place in places})
    return world, world.back_up().id, world.back_up().id


def is_of(backup: str, name: str) -> bool:
    return backup in name and not name.startswith("deletion/")


def check_freed(before: Lying, after: Lying, backup: str, told: Deleted) -> None:
    """Hold what is gone at a server, and what came, to what was said."""
    gone, came = before.keys() - after.keys(), after.keys() - before.keys()
    assert gone == {key for key in before if is_of(backup, key[0])}
    assert {name for name, _ in came} == {f"deletion/{backup}/00000002.json"}
    assert told.backups == (backup,)
    assert told.freed == sum(before[key] for key in gone)
    assert told.after == sum(after.values())


def test_what_was_said_is_gone_at_the_servers_and_nothing_else(
    ministack: MiniStack, azurite: Azurite, tmp_path: Path
) -> None:
    places = (
        in_bucket(ministack, tmp_path)[1],
        in_container(azurite, tmp_path),
        in_directory(tmp_path),
    )
    world, old, new = two_backups(tmp_path, *places)
    assert prune(world.services()).state is RunState.DONE
    before = [place.lying() for place in places]
    services = world.services()
    run = prune(services)
    assert run.state is RunState.DONE, run.error
    told = results(services, run)
    for place, lay in zip(places, before, strict=True):
        check_freed(lay, place.lying(), old, told[place.target.name])
        assert opens(world, place.target, new)


def test_what_object_lock_keeps_stays_whole_and_is_told_and_goes_with_its_versions_after(
    ministack: MiniStack, tmp_path: Path
) -> None:
    bucket, place = in_bucket(ministack, tmp_path, locking=True)
    directory = in_directory(tmp_path)
    world, old, new = two_backups(tmp_path, place, directory)
    prune(world.services())
    before = place.lying()
    services = world.services()
    run = prune(services)
    assert run.state is RunState.DONE, run.error
    [left] = results(services, run)["eu"].left.values()
    assert left.why == "it is locked"
    assert datetime.fromisoformat(left.until) > datetime.now(UTC) + timedelta(days=364)
    assert place.lying() == before
    assert opens(world, place.target, old)
    assert not [name for name, _ in directory.lying() if is_of(old, name)]

    for name, version in before:
        if is_of(old, name):
            end_lock(bucket, name, version)
    services = world.services()
    run = prune(services)
    assert run.state is RunState.DONE, run.error
    check_freed(before, place.lying(), old, results(services, run)["eu"])
    assert opens(world, place.target, new)


def test_what_covers_a_locked_successor_keeps_the_last_good_copy_whose_lock_has_ended(
    ministack: MiniStack, tmp_path: Path
) -> None:
    """A lock keeps versions from being deleted. It keeps nobody from writing a newer one over them."""
    bucket, place = in_bucket(ministack, tmp_path, locking=True)
    world, old, new = two_backups(tmp_path, place, in_directory(tmp_path))
    prune(world.services())
    for name, version in place.lying():
        if is_of(old, name):
            end_lock(bucket, name, version)
    lying = place.lying().items()
    name, size = next((name, size) for (name, _), size in lying if f"containers/{new}" in name)
    bucket.cover(name, bytes(size))
    services = world.services()
    run = prune(services)
    assert f"{new}, which replaces it, cannot be read on eu (Tampered)" in (run.error or "")
    assert opens(world, place.target, old)

    newer = world.back_up().id
    assert results(world.services(), prune(world.services()))["eu"].backups == (old,)
    assert not [name for name, _ in place.lying() if is_of(old, name)]
    assert opens(world, place.target, newer)


def end_lock(bucket: Bucket, name: str, version: str) -> None:
    """End a lock as whoever may bypass governance can."""
    bucket.client.put_object_retention(
        Bucket=bucket.name,
        Key=f"backups/{name}",
        VersionId=version,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) - timedelta(hours=1)},
        BypassGovernanceRetention=True,
    )


def test_servers_tell_what_time_it_is_there(ministack: MiniStack, azurite: Azurite, tmp_path: Path) -> None:
    for place in (in_bucket(ministack, tmp_path)[1], in_container(azurite, tmp_path)):
        told = place.target.time()
        assert told is not None
        assert abs(told - datetime.now(UTC).timestamp()) < 60
    assert in_directory(tmp_path).target.time() is None
