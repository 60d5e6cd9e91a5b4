"""How much was read within the span, and what was not for longest."""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from strongroom.model import COMMAND, Depth
from strongroom.operations.backup.order import MANIFEST, OVERHEAD, DueContainer, Terms
from strongroom.operations.backup.verified_share import by_target, coverage, items_on_record
from strongroom.state.records import CatalogEntry, ContainerCheck, Replica
from strongroom.state.store import RunStore
from strongroom.times import rfc3339

DAY, HOUR = 86_400.0, 3600.0
NOW = 1_800_000_000.0
TERMS = Terms(span=30 * DAY, interval=HOUR)
ITEM = DueContainer(backup="b1", target="eu", piece=0, size=1, made_at=NOW - 40 * DAY)


def entry(backup: str, *, policy: str = "weekly", containers: int = 2) -> CatalogEntry:
    return CatalogEntry(
        backup=backup,
        policy=policy,
        source="vault",
        created_at=rfc3339(NOW - 5 * DAY),
        values=True,
        secrets=1,
        size=2000,
        containers=containers,
        manifest_sha256="ab" * 32,
    )


def replica(backup: str, target: str, *, good: bool = True) -> Replica:
    return Replica(backup=backup, target=target, good=good, verified=None, verified_at=None)


def test_what_was_read_within_the_span_is_covered_and_the_rest_is_named() -> None:
    late = replace(ITEM, piece=1, checked_at=NOW - 31 * DAY, depth=Depth.OPENED)
    fresh = replace(ITEM, piece=2, checked_at=NOW - 29 * DAY, depth=Depth.COMPARED)
    found = coverage([ITEM, late, fresh], TERMS, now=NOW)
    assert (found.containers, found.read, found.never) == (3, 1, 1)
    assert found.share == 1 / 3
    assert found.depths == {Depth.COMPARED: 1}
    assert (found.oldest, found.oldest_since) == (ITEM, NOW - 40 * DAY)


def test_a_check_that_a_wrong_clock_dated_ahead_covers_nothing() -> None:
    assert coverage([replace(ITEM, checked_at=NOW + 30 * DAY)], TERMS, now=NOW).never == 1


def test_nothing_to_read_is_covered() -> None:
    found = coverage([], TERMS, now=NOW)
    assert (found.share, found.oldest, found.ends_at) == (1.0, None, None)


def test_the_end_is_when_the_slowest_target_is_through() -> None:
    slow = replace(TERMS, rate=2 * (OVERHEAD + 1) / HOUR)
    late = [replace(ITEM, piece=piece) for piece in range(5)]
    assert coverage(late, slow, now=NOW).ends_at == NOW + 3 * HOUR
    other = [replace(ITEM, target="us", piece=piece) for piece in range(7)]
    assert coverage([*late, *other], slow, now=NOW).ends_at == NOW + 4 * HOUR
    fresh = [replace(one, checked_at=NOW) for one in late]
    assert coverage(fresh, slow, now=NOW).ends_at is None


def test_every_container_of_every_good_replica_is_there_to_be_read_and_its_manifest(store: RunStore) -> None:
    store.put_backup(entry("b1"), [replica("b1", "eu"), replica("b1", "us", good=False)])
    check = ContainerCheck(backup="b1", target="eu", piece=1, depth=Depth.OPENED, checked_at=NOW)
    store.put_checks([check, replace(check, piece=7), replace(check, target="us")])
    found = items_on_record(store)
    made = datetime.fromtimestamp(NOW - 5 * DAY, UTC).timestamp()
    assert [(one.piece, one.size, one.checked_at) for one in found] == [
        (MANIFEST, 0, None),
        (0, 1000, None),
        (1, 1000, NOW),
    ]
    assert {(one.target, one.made_at) for one in found} == {("eu", made)}


def test_files_of_commands_media_in_a_safe_and_what_is_to_go_are_not_counted(store: RunStore) -> None:
    for backup, policy in (("b1", COMMAND), ("b2", "emergency"), ("b3", "weekly"), ("b4", "weekly")):
        store.put_backup(entry(backup, policy=policy), [replica(backup, "eu")])
    found = items_on_record(store, without=frozenset({"b3"}), offline=frozenset({"emergency"}))
    assert {one.backup for one in found} == {"b4"}


def test_items_are_told_apart_by_target() -> None:
    us = replace(ITEM, target="us")
    assert by_target([us, ITEM]) == {"eu": [ITEM], "us": [us]}
